// Crashes at moments that fault.inject does not reach, and of processes other than workers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <set>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;

constexpr useconds_t kPollMicroseconds = 2000;

class OddCrashes : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    job_ = std::make_unique<Workspace>(Corpus::kTokens);
    ASSERT_EQ(job_->train(2, "reference").exit_code, 0);
  }
  static void TearDownTestSuite() { job_.reset(); }

  static void expect_same_as_reference(const std::string& run) {
    EXPECT_EQ(job_->digest(run), job_->digest("reference"));
    EXPECT_EQ(job_->losses(run), job_->losses("reference"));
  }

  static std::vector<pid_t> processes_called(const BackgroundProgram& program, const std::string& name) {
    std::vector<pid_t> found;
    for (const pid_t pid : program.processes()) {
      const std::string line = command_line(pid);
      if (line.substr(0, line.find(' ')).ends_with("/" + name)) found.push_back(pid);
    }
    return found;
  }

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

  static inline std::unique_ptr<Workspace> job_;
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
  EXPECT_EQ(result.exit_code, 93) << result.all_output();
  EXPECT_LE(job_->events("hopeless", "restart").size(), 3U);
}

// Each rank's agent in turn. The others notice that it answers no more, and end the job for a new start.
TEST_F(OddCrashes, AgentThatIsStoppedEndsTheJobForANewStart) {
  const std::vector<std::string> settings = {"train.steps=100000", "fault.hang_timeout_seconds=1"};
  for (const std::size_t rank : {0U, 1U}) {
    BackgroundProgram program(job_->training_command(2, "stopped", settings), job_->options());
    ASSERT_TRUE(program.wait_for_output("step 1")) << program.stderr_so_far();
    const std::vector<pid_t> agents = processes_called(program, "kangpt_dist");
    ASSERT_EQ(agents.size(), 2U);
    ::kill(agents[rank], SIGSTOP);
    const ProgramResult result = job_->finish(program);
    EXPECT_EQ(result.exit_code, 76) << result.all_output();
    EXPECT_THAT(result.all_output(), HasSubstr("no answer from another rank's kangpt_dist"));
  }
}

TEST_F(OddCrashes, AgentThatIsKilledEndsTheJobAndTheSameCommandGoesOn) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=0,step=6", "fault.hang_timeout_seconds=60"};
  BackgroundProgram program(job_->training_command(2, "agent", settings), job_->options());
  ASSERT_TRUE(program.wait_for_output("validation loss")) << program.stderr_so_far();  // of step 5
  ::kill(processes_called(program, "kangpt_dist").at(1), SIGKILL);
  EXPECT_NE(job_->finish(program).exit_code, 0);
  EXPECT_EQ(job_->train(2, "agent", settings).exit_code, 0);
  expect_same_as_reference("agent");
}

}  // namespace
}  // namespace kangpt::test
