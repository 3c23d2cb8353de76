// Counts what own kernels and the operators of LibTorch ask of a GPU: launches, bytes, waits of the host, new memory.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>

#include "operations/cuda/launches.hpp"

namespace kangpt::test {

struct Work {
  std::uint64_t launches = 0;     // of own kernels, and of operators that call no others, views apart
  std::uint64_t bytes = 0;        // that these read and write, each once a launch
  std::uint64_t host_waits = 0;   // an element is asked for, or a transfer waited for
  std::uint64_t transfers = 0;    // tensors that go to a device by name, or to the host
  std::uint64_t allocations = 0;  // tensors that are new
  friend bool operator==(const Work&, const Work&) = default;
};

// Launches of a name that do equal work.
struct LaunchKind {
  std::string name;
  std::uint64_t bytes = 0;  // of one of them
  double flops = 0;         // of one of them; of matrix products alone
  friend auto operator<=>(const LaunchKind&, const LaunchKind&) = default;
};
using LaunchCounts = std::map<LaunchKind, std::uint64_t>;

// Whether own kernels are emulated while they are counted; LibTorch's operators always compute.
enum class OwnKernels { kEmulated, kCountedAlone };

// Counts while it lives, on all threads. One at a time.
class WorkCounter {
 public:
  explicit WorkCounter(OwnKernels own_kernels = OwnKernels::kEmulated);
  ~WorkCounter();
  WorkCounter(const WorkCounter&) = delete;
  WorkCounter& operator=(const WorkCounter&) = delete;

  // Since it was made, or since this was asked last.
  Work take();
  // The launches of the same time; take() begins both anew.
  LaunchCounts launches() const;

 private:
  std::uint64_t handle_;
  operations::cuda::LaunchWatcher watcher_before_;
};

}  // namespace kangpt::test
