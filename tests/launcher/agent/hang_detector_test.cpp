#include "launcher/agent/hang_detector.hpp"

#include <gtest/gtest.h>

namespace kangpt::launcher {
namespace {

using std::chrono::milliseconds;
using Turn = WorkerActivity::Turn;

constexpr std::uint32_t kForward = static_cast<std::uint32_t>(training::Phase::kForward);
constexpr std::uint32_t kBackward = static_cast<std::uint32_t>(training::Phase::kBackward);
constexpr std::uint32_t kValidation = static_cast<std::uint32_t>(training::Phase::kValidation);

// Looks ten times a second, as often as `seconds` takes.
std::optional<double> watch(HangDetector& hangs, HangDetector::Clock::time_point& now, const WorkerActivity& activity,
                            double seconds) {
  std::optional<double> found;
  for (int i = 0; i < static_cast<int>(seconds * 10) && !found; ++i)
    found = hangs.look(activity, now += milliseconds(100));
  return found;
}

class HangDetectorTest : public ::testing::Test {
 protected:
  void begin(HangDetector& hangs) { hangs.restart(now_); }
  HangDetector::Clock::time_point now_;
};

TEST_F(HangDetectorTest, LearnsHowLongAPhaseTakes) {
  HangDetector hangs(0);
  begin(hangs);
  EXPECT_FALSE(watch(hangs, now_, {1, kForward, 0, 0, Turn::kWorker}, 200));  // new phase: minutes
  EXPECT_FALSE(watch(hangs, now_, {1, kBackward, 0, 0, Turn::kWorker}, 1));
  EXPECT_FALSE(watch(hangs, now_, {2, kForward, 0, 0, Turn::kWorker}, 500));  // 20 times 200 s, but 10 minutes at most
  EXPECT_FALSE(watch(hangs, now_, {2, kBackward, 0, 0, Turn::kWorker}, 19));
  EXPECT_TRUE(watch(hangs, now_, {2, kBackward, 0, 0, Turn::kWorker}, 2));
}

TEST_F(HangDetectorTest, FixedTimeoutHoldsOncePhaseIsKnown) {
  HangDetector hangs(2);
  begin(hangs);
  EXPECT_FALSE(watch(hangs, now_, {1, kForward, 0, 0, Turn::kWorker}, 19));
  EXPECT_FALSE(watch(hangs, now_, {1, kBackward, 0, 0, Turn::kWorker}, 1));
  EXPECT_NEAR(watch(hangs, now_, {2, kForward, 0, 0, Turn::kWorker}, 3).value_or(0), 2, 0.2);
}

TEST_F(HangDetectorTest, WaitingForTheAgentIsNotAHang) {
  HangDetector hangs(1);
  begin(hangs);
  EXPECT_FALSE(watch(hangs, now_, {1, kForward, 0, 0, Turn::kAgent}, 1000));
}

// A validation of many batches, a sample of many tokens.
TEST_F(HangDetectorTest, APhaseMayTakeAnyTimeThatGetsOn) {
  HangDetector hangs(0);
  begin(hangs);
  std::uint64_t batch = 0;
  while (++batch < 2000) ASSERT_FALSE(watch(hangs, now_, {1, kValidation, 0, batch, Turn::kWorker}, 2));
  EXPECT_FALSE(watch(hangs, now_, {1, kValidation, 0, batch, Turn::kWorker}, 39));  // 20 times 2 s
  EXPECT_TRUE(watch(hangs, now_, {1, kValidation, 0, batch, Turn::kWorker}, 2));
}

TEST_F(HangDetectorTest, TimeInWhichTheAgentSleptDoesNotCount) {
  HangDetector hangs(0.3);
  begin(hangs);
  EXPECT_FALSE(hangs.look({1, kForward, 0, 0, Turn::kWorker}, now_));
  EXPECT_FALSE(hangs.look({1, kForward, 0, 0, Turn::kWorker}, now_ += std::chrono::hours(10)));
  EXPECT_TRUE(watch(hangs, now_, {1, kForward, 0, 0, Turn::kWorker}, 4));
}

TEST_F(HangDetectorTest, PhaseFromAMadWorkerIsAPhaseLikeAnyOther) {
  HangDetector hangs(1);
  begin(hangs);
  EXPECT_TRUE(watch(hangs, now_, {7, 4'000'000'000U, 0, 0, Turn::kWorker}, 12));
}

// On a GPU a rank that waits for a stopped one in a collective is silent as long as that one.
TEST_F(HangDetectorTest, WhoWaitsForOthersIsNotStuckBeforeThoseMayBe) {
  HangDetector hangs(1);
  begin(hangs);
  for (const std::uint64_t step : {1, 2, 3}) {
    EXPECT_FALSE(watch(hangs, now_, {step, kForward, 0, 0, Turn::kWorker}, 0.5));
    EXPECT_FALSE(watch(hangs, now_, {step, kBackward, 0, 0, Turn::kWorker, step}, 9.5)) << "others are in a new phase";
  }
  EXPECT_FALSE(watch(hangs, now_, {4, kBackward, 0, 0, Turn::kWorker, 4}, 19));
  EXPECT_TRUE(watch(hangs, now_, {4, kBackward, 0, 0, Turn::kWorker, 4}, 3)) << "nobody is, so it is the network";
}

TEST_F(HangDetectorTest, WaitingForOthersTeachesNothing) {
  HangDetector hangs(0);
  begin(hangs);
  for (const std::uint64_t step : {1, 2, 3}) {
    EXPECT_FALSE(watch(hangs, now_, {step, kForward, 0, 0, Turn::kWorker}, 0.5));
    EXPECT_FALSE(watch(hangs, now_, {step, kForward, 0, 0, Turn::kWorker, step}, 300));
  }
  EXPECT_TRUE(watch(hangs, now_, {4, kForward, 0, 0, Turn::kWorker}, 25));
}

}  // namespace
}  // namespace kangpt::launcher
