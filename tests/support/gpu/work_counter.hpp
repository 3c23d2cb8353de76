// Counts what the operators of LibTorch would ask of a GPU: launches, bytes, waits of the host, new memory.
#pragma once

#include <cstdint>
#include <memory>

namespace kangpt::test {

struct Work {
  std::uint64_t launches = 0;     // of operators that call no others, views apart
  std::uint64_t bytes = 0;        // that these read and write
  std::uint64_t host_waits = 0;   // an element is asked for, or a transfer waited for
  std::uint64_t transfers = 0;    // tensors that go to a device by name, or to the host
  std::uint64_t allocations = 0;  // tensors that are new
  friend bool operator==(const Work&, const Work&) = default;
};

// Counts while it lives, on all threads. One at a time.
class WorkCounter {
 public:
  WorkCounter();
  ~WorkCounter();
  WorkCounter(const WorkCounter&) = delete;
  WorkCounter& operator=(const WorkCounter&) = delete;

  // Since it was made, or since this was asked last.
  Work take();

 private:
  std::uint64_t handle_;
};

}  // namespace kangpt::test
