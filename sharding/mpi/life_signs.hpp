// When an agent gives a sign of life, and when another one's silence has been too long.
#pragma once

#include <chrono>
#include <optional>

namespace kangpt::sharding {

// Agents stand in a ring: each tells the next one a few times a second that it runs, and listens to the one before, so
// that an agent that is stopped is missed by one that is not. Where it waits does not matter. Not thread-safe.
class LifeSigns {
 public:
  using Clock = std::chrono::steady_clock;

  // True a few times a second: time to give a sign, and to look for others' with listen().
  bool due(Clock::time_point now) const noexcept;
  // `heard`: whether signs have arrived since the last time. The seconds of silence once they exceed the patience. Time
  // in which this agent itself did not run (it was stopped, or the machine slept) does not count.
  std::optional<double> listen(bool heard, Clock::time_point now);

  void set_patience(double seconds) noexcept;

 private:
  double patience_seconds_ = 1200;  // long enough for whatever may happen before the job's own is known
  double silent_seconds_ = 0;
  std::optional<Clock::time_point> last_;
};

}  // namespace kangpt::sharding
