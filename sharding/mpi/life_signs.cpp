#include "sharding/mpi/life_signs.hpp"

#include <algorithm>

namespace kangpt::sharding {
namespace {

constexpr std::chrono::milliseconds kPeriod{200};
constexpr double kLongestGapSeconds = 1;
constexpr double kLeastPatienceSeconds = 10;  // on a busy machine an agent may wait for a processor that long

}  // namespace

bool LifeSigns::due(Clock::time_point now) const noexcept {
  return !last_ || now - *last_ >= kPeriod;
}

std::optional<double> LifeSigns::listen(bool heard, Clock::time_point now) {
  const double passed = last_ ? std::chrono::duration<double>(now - *last_).count() : 0;
  last_ = now;
  silent_seconds_ = heard ? 0 : silent_seconds_ + std::min(passed, kLongestGapSeconds);
  return silent_seconds_ > patience_seconds_ ? std::optional(silent_seconds_) : std::nullopt;
}

void LifeSigns::set_patience(double seconds) noexcept {
  patience_seconds_ = std::max(seconds, kLeastPatienceSeconds);
}

}  // namespace kangpt::sharding
