// The GPU worker under the real kangpt_dist, without a GPU: equal bits at every world size, faults, memory, drivers.
#include <gmock/gmock.h>

#include "tests/end_to_end/gpu_on_doubles.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class GpuOnDoubles : public JobOnDoubles {};

TEST_F(GpuOnDoubles, OneTwoFourAndEightRanksGiveTheSameBits) {
  EXPECT_EQ(job_->digest("reference").size(), 64U);
  for (const int ranks : {1, 4, 8}) {
    const std::string run = "np" + std::to_string(ranks);
    const ProgramResult result = train(ranks, run);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.all_output(), HasSubstr("a GPU each"));
    expect_same_as_reference(run);
  }
}

// Of the same steps, with the bounds of fp32 sums in another order.
TEST_F(GpuOnDoubles, LossesAreThoseOfTheCpu) {
  const ProgramResult result = train(2, "cpu", {"run.device=CPU"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_NE(job_->digest("cpu"), job_->digest("reference")) << "they are not computed in the same way";
  const auto on_gpu = job_->losses("reference");
  for (const auto& [step, loss] : job_->losses("cpu"))
    EXPECT_NEAR(std::stod(on_gpu.at(step)), std::stod(loss), 1e-5 * std::stod(loss)) << step;
}

// One kind in each phase; every kind in every phase is in gpu_faults_test.
TEST_F(GpuOnDoubles, FaultsOfEveryKindLeaveTheSameBits) {
  const ProgramResult result =
      train(2, "faults",
            {"fault.hang_timeout_seconds=3", "fault.inject=segv@rank=1,step=3,phase=reduce",
             "fault.inject=kill@rank=0,step=4,phase=forward", "fault.inject=exit@rank=1,step=5,phase=update",
             "fault.inject=abort@rank=0,step=6,phase=gather", "fault.inject=bitflip@rank=1,step=7,phase=backward",
             "fault.inject=bitflip@rank=0,step=8,phase=forward", "fault.inject=stop@rank=1,step=9,phase=data",
             "fault.inject=segv@rank=0,step=10,phase=snapshot", "fault.inject=kill@rank=1,step=12,phase=checkpoint"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference("faults");
  EXPECT_EQ(job_->events("faults", "fault_injected").size(), 9U);
  EXPECT_GE(job_->events("faults", "restart").size(), 7U) << "a bit flipped in a copy may be gathered anew";
  for (const auto& restart : job_->events("faults", "restart")) EXPECT_LE(restart.at("steps_lost"), 1);
}

// Its end is a collective that the others would never join.
TEST_F(GpuOnDoubles, ARankThatFailsAloneSaysItBeforeAnythingIsDestroyed) {
  const ProgramResult result = train(2, "desync", {"fault.inject=bitflip@rank=1,step=5,phase=backward"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("rank 1 is out of step with the others at step 5"));
  EXPECT_THAT(result.all_output(), Not(HasSubstr("stuck")));
  expect_same_as_reference("desync");
}

TEST_F(GpuOnDoubles, AGradientThatIsNoNumberIsSkipped) {
  const ProgramResult result = train(2, "nan", {"fault.inject=nan@rank=0,step=7,phase=reduce"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  ASSERT_EQ(job_->events("nan", "skipped").size(), 1U);
  EXPECT_EQ(job_->events("nan", "skipped")[0].at("batch"), 6);
}

TEST_F(GpuOnDoubles, TheRankThatStoppedIsBlamedAndNotThoseThatWaitForIt) {
  const ProgramResult result =
      train(4, "stopped", {"fault.hang_timeout_seconds=3", "fault.inject=stop@rank=2,step=6,phase=backward"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  for (const auto& failure : job_->events("stopped", "failure")) EXPECT_EQ(failure.at("rank"), 2) << failure;
  EXPECT_THAT(result.all_output(), HasSubstr("rank 2 stuck"));
  expect_same_as_reference("stopped");
}

// Where nobody says how often snapshots are taken, the first steps decide it.
TEST_F(GpuOnDoubles, AnIntervalOfSnapshotsIsChosenAndSaid) {
  const ProgramResult result =
      train(2, "pace", {"checkpoint.snapshot_interval_steps=0", "fault.inject=segv@rank=1,step=11,phase=update"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("a snapshot every "));
  expect_same_as_reference("pace");
}

TEST_F(GpuOnDoubles, AnErrorOfNcclIsARestart) {
  const ProgramResult result = train(2, "nccl", {}, {{"KANGPT_DOUBLE_NCCL_ERROR", "1:20"}});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("an error on demand"));
  EXPECT_EQ(job_->events("nccl", "restart").size(), 1U);
  expect_same_as_reference("nccl");
}

TEST_F(GpuOnDoubles, CheckpointsGoFromCpuToGpuAndBack) {
  ASSERT_EQ(train(2, "both", {"train.steps=4", "run.device=CPU"}).exit_code, 0);
  ASSERT_EQ(train(4, "both", {"train.steps=8"}).exit_code, 0);
  const ProgramResult result = train(1, "both", {"run.device=CPU"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("step-0000000008"));
  const auto reference = job_->losses("reference");
  const auto losses = job_->losses("both");
  ASSERT_EQ(losses.size(), 12U);
  for (const auto& [step, loss] : losses)
    EXPECT_NEAR(std::stod(loss), std::stod(reference.at(step)), 2e-2 * std::stod(loss)) << step;
}

// Four slots instead of two, of which the agent holds those that are on their way.
TEST_F(GpuOnDoubles, CopiesOnAnotherNodeChangeNothing) {
  const std::vector<std::string> settings = {"run.device=CUDA", "train.logical_shards=8",
                                             "checkpoint.snapshot_interval_steps=1",
                                             "fault.inject=kill@rank=1,step=7,phase=update"};
  BackgroundProgram program(job_->training_command(std::vector{0, 1}, "nodes", settings), options());
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(job_->events("nodes", "restart").size(), 1U);
  expect_same_as_reference("nodes");
}

TEST_F(GpuOnDoubles, TooLittleMemoryIsSaidWithWhatWouldHelpAndNotTriedAgain) {
  const ProgramResult result = train(2, "too-little", {}, {{"KANGPT_DOUBLE_GPU_BYTES", "100000"}});
  EXPECT_EQ(result.exit_code, 78) << result.all_output();
  EXPECT_THAT(result.all_output(), AllOf(HasSubstr("Tried to allocate "), HasSubstr(" is free."),
                                         HasSubstr("train.logical_shards"), Not(HasSubstr("more words"))));
  EXPECT_TRUE(job_->events("too-little", "restart").empty());
}

TEST_F(GpuOnDoubles, Fp32IsSaidToBeSlowAndAutoIsBfloat16) {
  const std::string slow = "many times slower than --set train.precision=BF16";
  const ProgramResult fp32 = train(2, "fp32", {"train.steps=1"});
  EXPECT_THAT(fp32.all_output(), HasSubstr(slow));
  const ProgramResult bfloat16 = train(2, "bfloat16", {"train.precision=BF16"});
  ASSERT_EQ(bfloat16.exit_code, 0) << bfloat16.all_output();
  const ProgramResult chosen = train(1, "auto", {"train.precision=AUTO"});
  ASSERT_EQ(chosen.exit_code, 0) << chosen.all_output();
  EXPECT_THAT(chosen.all_output(), AllOf(HasSubstr("in bfloat16 by the GPU"), Not(HasSubstr(slow))));
  EXPECT_EQ(job_->digest("auto"), job_->digest("bfloat16"));
  EXPECT_NE(job_->digest("auto"), job_->digest("reference")) << "it rounds";
  const auto reference = job_->losses("reference");
  for (const auto& [step, loss] : job_->losses("auto"))
    EXPECT_NEAR(std::stod(loss), std::stod(reference.at(step)), 1e-2 * std::stod(loss)) << step;
  ASSERT_EQ(train(1, "auto-cpu", {"train.precision=AUTO", "run.device=CPU", "train.steps=2"}).exit_code, 0);
  ASSERT_EQ(train(1, "fp32-cpu", {"run.device=CPU", "train.steps=2"}).exit_code, 0);
  EXPECT_EQ(job_->digest("auto-cpu"), job_->digest("fp32-cpu"));
}

// So wide that whole residuals are fused.
TEST_F(GpuOnDoubles, ThirtyStepsAreThoseOfTheCpu) {
  const auto losses = [](const std::string& name, const std::vector<std::string>& settings) {
    std::vector<std::string> all = {"model.d_model=32", "model.head_dim=8", "train.steps=30",
                                    "optimizer.learning_rate=1e-3"};
    all.insert(all.end(), settings.begin(), settings.end());
    const ProgramResult result = train(1, name, all);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return job_->losses(name);
  };
  const auto expected = losses("wide", {"run.device=CPU"});
  ASSERT_EQ(expected.size(), 30U);
  const auto fp32 = losses("wide-fp32", {});
  const auto bfloat16 = losses("wide-bfloat16", {"train.precision=BF16"});
  for (const auto& [step, text] : expected) {
    const double loss = std::stod(text);
    EXPECT_NEAR(std::stod(fp32.at(step)), loss, 1e-5 * loss) << step;
    EXPECT_NEAR(std::stod(bfloat16.at(step)), loss, 5e-3 * loss) << step;
  }
}

TEST_F(GpuOnDoubles, StacksHaveTheNamesOfFunctions) {
  const ProgramResult result = train(2, "stack", {"fault.inject=segv@rank=1,step=3,phase=forward"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(read_text(job_->run("stack") / "crash-rank-1.txt"), HasSubstr("FaultInjector::enter"));
  // The worker for GPUs can't be started here.
  const ProgramResult names = run_program({"nm", "--dynamic", "--defined-only", KANGPT_WORKER_CUDA}, {});
  EXPECT_THAT(names.all_output(), HasSubstr("FaultInjector5enter"));
}

// Each phase is timed to its end, and what is timed is what is computed without.
TEST_F(GpuOnDoubles, AProfileChangesNothing) {
  const ProgramResult result = train(2, "profile", {"log.profile=true"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference("profile");
  EXPECT_THAT(read_text(job_->run("profile") / "metrics.jsonl"), HasSubstr("\"backward\""));
}

TEST_F(GpuOnDoubles, StreamsAreInOrder) {
  const ProgramResult result = train(2, "streams", {}, {{"KANGPT_DOUBLE_CHECK_STREAMS", "1"}});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("checker of streams: "));
  EXPECT_THAT(result.all_output(), Not(HasSubstr("race: ")));
  expect_same_as_reference("streams");
}

TEST_F(GpuOnDoubles, EachRankMayBeShownAGpuOfItsOwn) {
  const ProgramResult result = train(2, "own", {"train.steps=2"}, {{"KANGPT_DOUBLE_GPU_PER_TASK", "1"}});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
}

struct DriverCase {
  std::string name;
  Environment environment;
  std::string device;
  int exit_code;
  std::string text;
};

class GpuDriver : public JobOnDoubles, public ::testing::WithParamInterface<DriverCase> {};

TEST_P(GpuDriver, DecidesWhatBecomesOfTheJob) {
  const DriverCase& the = GetParam();
  const ProgramResult result =
      train(2, "driver-" + the.name, {"run.device=" + the.device, "train.steps=1"}, the.environment);
  EXPECT_EQ(result.exit_code, the.exit_code) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr(the.text));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, GpuDriver,
    ::testing::Values(
        DriverCase{"TooOld", {{"KANGPT_DOUBLE_DRIVER_VERSION", "12040"}}, "CUDA", 78, "install driver R580"},
        DriverCase{"TooOldForAuto", {{"KANGPT_DOUBLE_DRIVER_VERSION", "12040"}}, "AUTO", 0, "it knows CUDA 12.4"},
        DriverCase{"SickGpu", {{"KANGPT_DOUBLE_DRIVER_ERROR", "214"}}, "CUDA", 76, "cuInit gave error 214"},
        DriverCase{"SickGpuForAuto", {{"KANGPT_DOUBLE_DRIVER_ERROR", "802"}}, "AUTO", 76, "run.device=CPU"},
        DriverCase{"SickInTheWorker", {{"KANGPT_DOUBLE_GPU_ERROR", "214"}}, "CUDA", 76, "out of order"},
        DriverCase{"TooFew", {{"KANGPT_DOUBLE_GPUS", "1"}}, "CUDA", 78, "rank 1 sees 1 GPU(s)"},
        DriverCase{"Unlike", {{"KANGPT_DOUBLE_GPU_MODELS", "H100,A100"}}, "CUDA", 78, "rank 1 A100 with"}),
    [](const auto& driver) { return driver.param.name; });

}  // namespace
}  // namespace kangpt::test
