// Where the time of a step goes, phase by phase.
#pragma once

#include <cstdint>
#include <vector>

#include "training/phase.hpp"

namespace kangpt::launcher {

// Collects the intervals between the beginnings of phases. Not thread-safe.
class PhaseProfile {
 public:
  struct Interval {
    training::Phase phase{};
    std::int64_t begin_microseconds = 0;  // monotonic clock
    std::int64_t microseconds = 0;
  };

  // Ends the phase before and begins this one.
  void enter(training::Phase phase, std::int64_t now_microseconds);
  // Ends the phase that is under way; returns all intervals since the last call, in their order.
  std::vector<Interval> take(std::int64_t now_microseconds);

 private:
  void end(std::int64_t now_microseconds);

  std::vector<Interval> intervals_;
  bool under_way_ = false;  // the last interval has no end yet
};

}  // namespace kangpt::launcher
