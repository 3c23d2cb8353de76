#include "operations/cuda/launches.hpp"

#include <atomic>

namespace kangpt::operations::cuda {
namespace {

std::atomic<LaunchWatcher> watcher_of_all = nullptr;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace

LaunchWatcher watch_launches(LaunchWatcher watcher) {
  return watcher_of_all.exchange(watcher);
}

bool begin_launch(const Work& work, Stream stream) {
  const LaunchWatcher watcher = watcher_of_all;
  return watcher == nullptr || watcher(work, stream);
}

}  // namespace kangpt::operations::cuda
