#include "training/snapshot_pace.hpp"

#include <algorithm>
#include <cmath>

namespace kangpt::training {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

bool SnapshotPace::learn(double step_seconds, double snapshot_seconds) {
  if (interval_steps_ != 0 || ignored_++ < kIgnoredSteps) return false;
  steps_seconds_.push_back(step_seconds);
  snapshots_seconds_.push_back(snapshot_seconds);
  if (steps_seconds_.size() < kLearntSteps) return false;
  const double allowed_seconds = std::max(kShareOfTime * median(steps_seconds_), 1e-9);
  const double steps = std::ceil(median(snapshots_seconds_) / allowed_seconds);
  interval_steps_ = static_cast<std::uint64_t>(std::clamp(steps, 1.0, static_cast<double>(kLongestIntervalSteps)));
  return true;
}

}  // namespace kangpt::training
