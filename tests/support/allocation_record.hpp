// What LibTorch's allocator gives out, for tests of how much memory something takes.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace kangpt::test {

// From this object's beginning to its end, on its thread.
class AllocationRecord {
 public:
  // The most that was there at once.
  std::int64_t peak_bytes() const { return reports_->peak; }

 private:
  struct Reports final : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void* /*pointer*/, std::int64_t size, std::size_t /*allocated*/, std::size_t /*reserved*/,
                           c10::Device /*device*/) override {
      bytes += size;
      peak = std::max(peak, bytes);
    }
    bool memoryProfilingEnabled() const override { return true; }

    std::int64_t bytes = 0;
    std::int64_t peak = 0;
  };

  std::shared_ptr<Reports> reports_ = std::make_shared<Reports>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, reports_};
};

}  // namespace kangpt::test
