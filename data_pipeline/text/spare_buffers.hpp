// Buffers that are used again: fresh memory costs more than filling it.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

namespace kangpt::data {

// Any thread may take and give.
template <typename Buffer>
class SpareBuffers {
 public:
  // One that was given, with whatever it holds, or a new one.
  Buffer take() {
    const std::lock_guard lock(mutex_);
    if (buffers_.empty()) return {};
    Buffer buffer = std::move(buffers_.back());
    buffers_.pop_back();
    return buffer;
  }
  void give(Buffer buffer) {
    const std::lock_guard lock(mutex_);
    buffers_.push_back(std::move(buffer));
  }

 private:
  std::mutex mutex_;
  std::vector<Buffer> buffers_;
};

}  // namespace kangpt::data
