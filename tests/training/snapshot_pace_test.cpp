#include "training/snapshot_pace.hpp"

#include <gtest/gtest.h>

namespace kangpt::training {
namespace {

// What is chosen where each step takes `step_seconds` and each snapshot `snapshot_seconds`.
std::uint64_t chosen(double step_seconds, double snapshot_seconds) {
  SnapshotPace pace(0);
  for (int i = 0; i < SnapshotPace::kIgnoredSteps + SnapshotPace::kLearntSteps - 1; ++i) {
    EXPECT_FALSE(pace.learn(step_seconds, snapshot_seconds)) << i;
    EXPECT_TRUE(pace.is_due(static_cast<std::uint64_t>(i))) << "as long as it is not known what they cost";
  }
  EXPECT_TRUE(pace.learn(step_seconds, snapshot_seconds));
  return pace.interval_steps();
}

TEST(SnapshotPaceTest, ChoosesTheFewestStepsThatCostOnePercent) {
  for (const double step_seconds : {1e-3, 0.1, 7.0}) {
    for (const double snapshot_seconds : {1e-5, 2e-3, 0.5}) {
      const auto steps = static_cast<double>(chosen(step_seconds, snapshot_seconds));
      const auto share = [&](double interval) { return snapshot_seconds / (interval * step_seconds); };
      const bool is_longest = steps == static_cast<double>(SnapshotPace::kLongestIntervalSteps);
      EXPECT_TRUE(is_longest || share(steps) <= 0.01 * (1 + 1e-9)) << steps;
      EXPECT_TRUE(steps == 1 || share(steps - 1) > 0.01) << steps;
    }
  }
}

TEST(SnapshotPaceTest, WhatCostsNothingIsTakenAfterEveryStep) {
  EXPECT_EQ(chosen(0.1, 0), 1U);
  EXPECT_EQ(chosen(0, 0), 1U);
}

TEST(SnapshotPaceTest, ThereIsAnEndToItsPatience) {
  EXPECT_EQ(chosen(1e-6, 10), SnapshotPace::kLongestIntervalSteps);
}

TEST(SnapshotPaceTest, OneSlowStepDecidesNothing) {
  SnapshotPace pace(0);
  for (int i = 0; i < SnapshotPace::kIgnoredSteps; ++i) pace.learn(1000, 0);
  for (int i = 0; i < SnapshotPace::kLearntSteps; ++i) pace.learn(i == 1 ? 1000 : 1, i == 2 ? 1000 : 0.05);
  EXPECT_EQ(pace.interval_steps(), 5U);
}

TEST(SnapshotPaceTest, WhatIsSaidStays) {
  SnapshotPace pace(7);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(pace.learn(1, 1));
  EXPECT_TRUE(pace.is_due(14));
  EXPECT_FALSE(pace.is_due(15));
}

}  // namespace
}  // namespace kangpt::training
