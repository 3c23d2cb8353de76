#include "launcher/worker/phase_profile.hpp"

#include <utility>

namespace kangpt::launcher {

void PhaseProfile::end(std::int64_t now_microseconds) {
  if (std::exchange(under_way_, false))
    intervals_.back().microseconds = now_microseconds - intervals_.back().begin_microseconds;
}

void PhaseProfile::enter(training::Phase phase, std::int64_t now_microseconds) {
  end(now_microseconds);
  intervals_.push_back({phase, now_microseconds, 0});
  under_way_ = true;
}

std::vector<PhaseProfile::Interval> PhaseProfile::take(std::int64_t now_microseconds) {
  end(now_microseconds);
  return std::exchange(intervals_, {});
}

}  // namespace kangpt::launcher
