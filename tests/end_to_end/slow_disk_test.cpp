// Disks that take seconds for what should take milliseconds cost time and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class SlowDisk : public ComparedJob {};

// Each checkpoint is due before the one before is on disk, and the workers end before the last two are.
TEST_F(SlowDisk, CheckpointsThatTakeLongerThanTheirIntervalAreNoCrash) {
  for (const int ranks : {1, 2, 4}) {
    const std::string run = "calm-" + std::to_string(ranks);
    const ProgramResult result = job_->train_slowly(400, ranks, run, {"fault.max_restarts=0"});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(job_->events(run, "checkpoint"), SizeIs(3));
    EXPECT_THAT(job_->events(run, "failure"), IsEmpty());
    expect_same_as_reference(run);
  }
}

// A crash while one checkpoint is being written and the next one waits for it.
TEST_F(SlowDisk, WorkersThatDieMeanwhileAreReplacedAndTheirFaultsHappenOnce) {
  const ProgramResult result =
      job_->train_slowly(400, 2, "harmed",
                         {"checkpoint.interval_steps=2", "fault.inject=kill@rank=1,step=4,phase=checkpoint",
                          "fault.inject=segv@rank=0,step=5,phase=data", "fault.inject=exit@rank=1,step=9,phase=data"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(job_->events("harmed", "fault_injected"), SizeIs(3));
  EXPECT_THAT(job_->events("harmed", "restart"), SizeIs(3));
  EXPECT_THAT(job_->events("harmed", "checkpoint"), SizeIs(6)) << "none is left out";
  expect_same_as_reference("harmed");
}

TEST_F(SlowDisk, SignalsAreAnsweredOnce) {
  const std::vector<std::string> settings = {"train.steps=200", "checkpoint.interval_steps=10",
                                             "log.validation_interval_steps=0"};
  ASSERT_EQ(job_->train(2, "long", settings).exit_code, 0);
  for (const int signal : {SIGUSR1, SIGUSR2}) {
    const std::string run = "signal-" + std::to_string(signal);
    BackgroundProgram program(job_->training_command(2, run, settings), job_->slow_disk_options(700));
    ASSERT_TRUE(program.wait_for_output("step 1/")) << program.stderr_so_far();
    program.send_signal(signal);
    const ProgramResult stopped = job_->finish(program);
    EXPECT_EQ(stopped.exit_code, 75) << stopped.all_output();
    EXPECT_THAT(job_->events(run, "failure"), IsEmpty());
    EXPECT_EQ(job_->train(2, run, settings).exit_code, 0);
    EXPECT_EQ(job_->digest(run), job_->digest("long"));
  }
}

}  // namespace
}  // namespace kangpt::test
