// Agents that are stopped: for good, which ends the job for a new start wherever the others wait for them, or for a
// while, which harms nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;

constexpr useconds_t kPollMicroseconds = 2000;
constexpr useconds_t kShortStopMicroseconds = 3'000'000;
constexpr int kStartAgain = 76;

const std::string kImpatient = "fault.hang_timeout_seconds=0.5";  // 10 s of silence from an agent are enough
const std::string kPatient = "fault.hang_timeout_seconds=60";

class StoppedAgents : public ComparedJob {
 protected:
  // What jobs that ended for a new start left in memory for it.
  void SetUp() override {
    for (const auto& left : fs::directory_iterator(job_->memory())) fs::remove(left.path());
  }

  static void expect_end_for_a_new_start(BackgroundProgram& program, int stopped_rank) {
    const ProgramResult result = job_->finish(program);
    EXPECT_EQ(result.exit_code, kStartAgain) << result.all_output();
    EXPECT_THAT(result.all_output(),
                HasSubstr("no answer from the kangpt_dist of rank " + std::to_string(stopped_rank)));
  }
};

TEST_F(StoppedAgents, InTheMiddleOfTraining) {
  for (const int rank : {0, 2}) {
    BackgroundProgram program(
        job_->training_command(4, "training", {"train.steps=1000000", "checkpoint.resume=NEVER", kImpatient}),
        job_->options());
    ASSERT_TRUE(program.wait_for_output("step 1/")) << program.stderr_so_far();
    signal_rank(program, "kangpt_dist", rank, SIGSTOP);
    expect_end_for_a_new_start(program, rank);
  }
}

// The others wait for its part of the agreement, and have said what failed before.
TEST_F(StoppedAgents, WhileOthersAgreeOnAFailure) {
  BackgroundProgram program(job_->training_command(2, "agreement", {"train.steps=1000000", kImpatient}),
                            job_->options());
  ASSERT_TRUE(program.wait_for_output("step 1/")) << program.stderr_so_far();
  signal_rank(program, "kangpt_dist", 0, SIGSTOP);
  signal_rank(program, "kangpt_worker", 1, SIGKILL);
  EXPECT_TRUE(program.wait_for_output("rank 1: the worker died of SIGKILL")) << program.stderr_so_far();
  expect_end_for_a_new_start(program, 0);
}

TEST_F(StoppedAgents, WhileTheLastCheckpointIsWritten) {
  BackgroundProgram program(job_->training_command(2, "last", {"checkpoint.interval_steps=0", kImpatient}),
                            job_->slow_disk_options(100'000));
  const fs::path unfinished = job_->run("last") / "checkpoints/step-0000000012.tmp";
  while (program.running() && !fs::exists(unfinished)) ::usleep(kPollMicroseconds);
  signal_rank(program, "kangpt_dist", 1, SIGSTOP);
  expect_end_for_a_new_start(program, 1);
  EXPECT_EQ(job_->train(2, "last", {"checkpoint.interval_steps=0"}).exit_code, 0);
  expect_same_as_reference("last");
}

// In the others' agreement on a failure.
TEST_F(StoppedAgents, ThatGoOnInTimeDoNoHarm) {
  const std::string run = "short";
  BackgroundProgram program(job_->training_command(2, run, {"fault.inject=stop@rank=0,step=6", kPatient}),
                            job_->options());
  wait_for_standstill(program, run);
  signal_rank(program, "kangpt_dist", 1, SIGSTOP);
  signal_rank(program, "kangpt_worker", 0, SIGKILL);
  ::usleep(kShortStopMicroseconds);
  signal_rank(program, "kangpt_dist", 1, SIGCONT);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(job_->events(run, "restart").size(), 1U);
  expect_same_as_reference(run);
}

TEST_F(StoppedAgents, AndContinuedAllTogetherDoNoHarm) {
  const std::string run = "suspended";
  BackgroundProgram program(job_->training_command(2, run, {"train.steps=100000", kImpatient}), job_->options());
  ASSERT_TRUE(program.wait_for_output("step 1/")) << program.stderr_so_far();
  const std::vector<pid_t> all = program.processes();
  for (const pid_t pid : all) ::kill(pid, SIGSTOP);
  ::usleep(4 * kShortStopMicroseconds);  // longer than the patience
  for (const pid_t pid : all) ::kill(pid, SIGCONT);
  const std::size_t failures = job_->events(run, "failure").size();
  ::usleep(kShortStopMicroseconds);
  EXPECT_TRUE(program.running()) << program.stderr_so_far();
  EXPECT_EQ(job_->events(run, "failure").size(), failures);
  program.send_signal(SIGUSR1);
  EXPECT_EQ(job_->finish(program).exit_code, 75);
}

// Its collectives wait for rank 0 longer than the patience with an agent that gives no sign of life.
TEST_F(StoppedAgents, ASlowDiskOfRankZeroIsNotTakenForOne) {
  ProgramOptions options = job_->slow_disk_options(4000);
  options.environment["KANGPT_SLOW_SYNC_RANK"] = "0";
  BackgroundProgram program(job_->training_command(2, "silence", {"checkpoint.interval_steps=5", kImpatient}), options);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference("silence");
}

// Agent and worker of different ranks at the same moment.
TEST_F(StoppedAgents, KilledTogetherWithAWorkerEndTheJobAndTheSameCommandGoesOn) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=0,step=6", kPatient};
  BackgroundProgram program(job_->training_command(4, "both", settings), job_->options());
  wait_for_standstill(program, "both");
  signal_rank(program, "kangpt_worker", 3, SIGKILL);
  signal_rank(program, "kangpt_dist", 2, SIGKILL);
  EXPECT_NE(job_->finish(program).exit_code, 0);
  EXPECT_EQ(job_->train(2, "both", settings).exit_code, 0);
  expect_same_as_reference("both");
}

}  // namespace
}  // namespace kangpt::test
