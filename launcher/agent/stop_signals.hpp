// SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 as a request to stop.
#pragma once

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
  // A second SIGINT: end now, without a checkpoint.
  bool stop_at_once() const noexcept { return interrupts_ > 1; }

 private:
  base::UniqueFd fd_;
  bool stop_requested_ = false;
  int interrupts_ = 0;
};

}  // namespace kangpt::launcher
