// How many steps lie between snapshots where that is not said: as few as cost 1 % of the time.
#pragma once

#include <cstdint>
#include <vector>

namespace kangpt::training {

// Snapshots are taken after every step until it is known what they cost. All ranks have to learn the same numbers, and
// then take them after the same steps. Not thread-safe.
class SnapshotPace {
 public:
  // 0: to be chosen.
  explicit SnapshotPace(std::uint64_t interval_steps) : interval_steps_(interval_steps) {}

  bool is_due(std::uint64_t step) const noexcept { return interval_steps_ == 0 || step % interval_steps_ == 0; }
  // What a step took, and what training waited for its snapshot beside it; of one rank or summed over ranks. True where
  // that was the last that it took to choose.
  bool learn(double step_seconds, double snapshot_seconds);
  // 0: not chosen yet.
  std::uint64_t interval_steps() const noexcept { return interval_steps_; }

  static constexpr int kIgnoredSteps = 2;  // the first ones prepare what later ones find
  static constexpr int kLearntSteps = 5;
  static constexpr double kShareOfTime = 0.01;
  static constexpr std::uint64_t kLongestIntervalSteps = 1000;

 private:
  std::uint64_t interval_steps_;
  int ignored_ = 0;
  std::vector<double> steps_seconds_;
  std::vector<double> snapshots_seconds_;
};

}  // namespace kangpt::training
