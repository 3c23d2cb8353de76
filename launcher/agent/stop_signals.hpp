// SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 as a request to stop.
#pragma once

#include <chrono>
#include <optional>

#include "base/unique_fd.hpp"

namespace kangpt::launcher {

// Blocks the signals in this thread and in those it starts later; make it before any thread. A SIGHUP that is ignored
// when this process starts (nohup) stays ignored. Not thread-safe.
class StopSignals {
 public:
  StopSignals();
  // Readable when a signal is there.
  int fd() const noexcept { return fd_.value(); }
  // Takes what has arrived.
  void poll();
  bool stop_requested() const noexcept { return stop_requested_; }
  // Whether all but SIGUSR1 and SIGUSR2 came this long ago: who sends those has little time. mpirun kills its processes
  // a second after them.
  bool in_haste_for(std::chrono::milliseconds time) const noexcept;
  // A second SIGINT: end now, without a checkpoint.
  bool stop_at_once() const noexcept { return interrupts_ > 1; }

 private:
  base::UniqueFd fd_;
  bool stop_requested_ = false;
  std::optional<std::chrono::steady_clock::time_point> in_haste_since_;
  int interrupts_ = 0;
};

}  // namespace kangpt::launcher
