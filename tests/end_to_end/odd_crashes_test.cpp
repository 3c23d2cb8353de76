// Crashes at moments that fault.inject does not reach, and of processes other than workers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <set>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;

constexpr useconds_t kPollMicroseconds = 2000;

class OddCrashes : public ComparedJob {
 protected:
  // Kills workers as soon as they appear, `count` of them or until the job ends.
  static void kill_new_workers(BackgroundProgram& program, std::size_t count) {
    std::set<pid_t> killed;
    while (program.running() && killed.size() < count) {
      for (const pid_t pid : processes_called(program, "kangpt_worker")) {
        if (killed.insert(pid).second) ::kill(pid, SIGKILL);
      }
      ::usleep(kPollMicroseconds);
    }
  }
};

TEST_F(OddCrashes, BeforeTheFirstSnapshotAndInTheRecoveriesThatFollow) {
  BackgroundProgram program(job_->training_command(2, "early", {"fault.no_progress_limit=50"}), job_->options());
  kill_new_workers(program, 10);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_GE(job_->events("early", "restart").size(), 4U);
  expect_same_as_reference("early");
}

TEST_F(OddCrashes, WhileRecoveringFromOneInTheMiddle) {
  BackgroundProgram program(
      job_->training_command(2, "middle", {"fault.no_progress_limit=50", "fault.inject=kill@rank=1,step=7"}),
      job_->options());
  ASSERT_TRUE(program.wait_for_output("restarting the workers behind step 6")) << program.stderr_so_far();
  kill_new_workers(program, 6);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  for (const auto& restart : job_->events("middle", "restart")) EXPECT_LE(restart.at("steps_lost"), 1);
  expect_same_as_reference("middle");
}

TEST_F(OddCrashes, WorkersThatNeverLiveAreNotStartedForEver) {
  BackgroundProgram program(job_->training_command(2, "hopeless"), job_->options());
  kill_new_workers(program, 1000);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 76) << "a later start may find better times: " << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("no worker reached a step in 3 restarts"));
  EXPECT_LE(job_->events("hopeless", "restart").size(), 3U);
}

TEST_F(OddCrashes, AgentThatIsKilledEndsTheJobAndTheSameCommandGoesOn) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=0,step=6", "fault.hang_timeout_seconds=60"};
  BackgroundProgram program(job_->training_command(2, "agent", settings), job_->options());
  ASSERT_TRUE(program.wait_for_output("validation loss")) << program.stderr_so_far();  // of step 5
  signal_rank(program, "kangpt_dist", 1, SIGKILL);
  EXPECT_NE(job_->finish(program).exit_code, 0);
  EXPECT_EQ(job_->train(2, "agent", settings).exit_code, 0);
  expect_same_as_reference("agent");
}

}  // namespace
}  // namespace kangpt::test
