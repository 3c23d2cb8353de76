#include "launcher/agent/restart_budget.hpp"

#include <gtest/gtest.h>

#include "training/phase.hpp"

namespace kangpt::launcher {
namespace {

// What two ranks agree on once the second has failed, with `step` the newest that both hold.
std::vector<AgentStatus> failure(std::int64_t step, const std::string& phase = "reduce") {
  std::vector<AgentStatus> statuses(2);
  statuses[0].snapshot_steps = {step, step + 1};
  statuses[1].snapshot_steps = {step - 1, step};
  statuses[1].failure = WorkerFailure{.message = "died", .phase = phase};
  return statuses;
}

std::vector<AgentStatus> rollback(std::int64_t step, std::uint64_t batch) {
  std::vector<AgentStatus> statuses = failure(step);
  statuses[1].failure->bad_batch = batch;
  return statuses;
}

TEST(RestartBudget, AllowsAsManyCrashesAsConfigured) {
  RestartBudget budget(3, 100);
  for (int step = 1; step <= 3; ++step) {
    budget.count(failure(step));
    EXPECT_FALSE(budget.end());
    EXPECT_EQ(budget.failures_without_progress(), 0);
  }
  budget.count(failure(4));
  ASSERT_TRUE(budget.end());
  EXPECT_EQ(budget.end()->code, ExitCode::kGaveUp) << "the next start may do better";
  EXPECT_NE(budget.end()->why.find("restarted 3 times"), std::string::npos);
}

TEST(RestartBudget, EndsWithTheCrashItselfWhereNoneIsAllowed) {
  RestartBudget budget(0, 100);
  budget.count(failure(1));
  EXPECT_EQ(budget.end()->code, ExitCode::kInternal);
}

TEST(RestartBudget, TellsStepsThatFailAgainFromWorkersThatNeverStart) {
  RestartBudget computing(100, 2), starting(100, 2);
  const std::string start(training::phase_name(0));
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(computing.end());
    EXPECT_FALSE(starting.end());
    computing.count(failure(5));
    starting.count(failure(-1, start));
  }
  EXPECT_EQ(computing.failures_without_progress(), 2) << "the first had got to a new step";
  EXPECT_EQ(computing.end()->code, ExitCode::kNoProgress);
  EXPECT_EQ(starting.end()->code, ExitCode::kGaveUp);
}

TEST(RestartBudget, CountsStepsAsNewThatAreComputedAgainFromDisk) {
  RestartBudget budget(100, 2);
  budget.count(failure(9));
  budget.count(failure(9));
  budget.go_back_to(4);
  budget.count(failure(6));
  EXPECT_EQ(budget.failures_without_progress(), 0);
  budget.count(failure(6));
  EXPECT_EQ(budget.failures_without_progress(), 1);
}

TEST(RestartBudget, ManyRollbacksInARowAreNotTheBatches) {
  RestartBudget budget(0, 1);
  std::uint64_t batch = 0;
  for (; batch < 19; ++batch) {
    budget.count(rollback(7, batch));
    budget.go_back_to(4);
    EXPECT_FALSE(budget.end()) << "a rollback is neither a crash nor without progress";
  }
  budget.count(rollback(8, batch++));
  EXPECT_FALSE(budget.end()) << "there was a new step";
  for (; batch < 39; ++batch) budget.count(rollback(8, batch));
  EXPECT_EQ(budget.end()->code, ExitCode::kNoProgress);
}

}  // namespace
}  // namespace kangpt::launcher
