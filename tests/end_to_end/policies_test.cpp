// What a job does about losses that are not finite, disks that are full or damaged, and a second job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <memory>

#include "base/seal.hpp"
#include "tests/end_to_end/training_run.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

const std::string kNan = "fault.inject=nan@rank=0,step=7,phase=reduce";

TEST(NonFinite, SkippedBatchLeavesTheSameBitsWhateverElseHappens) {
  const Workspace job(Corpus::kTokens);
  EXPECT_EQ(job.train(2, "calm", {kNan}).exit_code, 0);
  EXPECT_EQ(job.train(4, "harmed", {kNan, "fault.inject=kill@rank=2,step=9,phase=update"}).exit_code, 0);
  EXPECT_EQ(job.digest("harmed"), job.digest("calm"));
  ASSERT_EQ(job.events("harmed", "skipped").size(), 1U);
  EXPECT_EQ(job.events("harmed", "skipped")[0].at("batch"), 6);
  EXPECT_EQ(job.losses("harmed").size(), 12U);
}

TEST(NonFinite, RollbackLeavesTheBatchOutFromThenOn) {
  const Workspace job(Corpus::kTokens);
  const std::string rollback = "fault.non_finite=ROLLBACK";
  EXPECT_EQ(job.train(2, "calm", {rollback, kNan}).exit_code, 0);
  const std::vector<std::string> harmed = {rollback, kNan, "fault.inject=kill@rank=1,step=6,phase=update",
                                           "fault.inject=segv@rank=0,step=8,phase=gather"};
  EXPECT_EQ(job.train(2, "harmed", harmed).exit_code, 0);
  EXPECT_EQ(job.digest("harmed"), job.digest("calm"));
  EXPECT_EQ(job.losses("harmed"), job.losses("calm"));
  ASSERT_EQ(job.events("calm", "restart").size(), 1U);
  EXPECT_EQ(job.events("calm", "restart")[0].at("step"), 4);  // the newest checkpoint
  EXPECT_EQ(job.train(2, "undisturbed").exit_code, 0);
  EXPECT_EQ(job.losses("calm").at(6), job.losses("undisturbed").at(6));
  EXPECT_NE(job.losses("calm").at(7), job.losses("undisturbed").at(7));
}

TEST(NonFinite, ARollbackIsNoRestartAfterACrash) {
  const Workspace job(Corpus::kTokens);
  const std::vector<std::string> settings = {"fault.non_finite=ROLLBACK", "fault.max_restarts=0",
                                             "fault.no_progress_limit=1", kNan};
  for (const int ranks : {1, 2, 4}) {
    const std::string run = "run-" + std::to_string(ranks);
    const ProgramResult result = job.train(ranks, run, settings);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_EQ(job.events(run, "restart").size(), 1U);
    EXPECT_EQ(job.digest(run), job.digest("run-1"));
    EXPECT_EQ(job.losses(run), job.losses("run-1"));
  }
}

// The first update leaves nothing that a batch could be computed with: each that is left out is another one, but it is
// not the batches.
TEST(NonFinite, TwentyRollbacksInARowEndTheRun) {
  const Workspace job(Corpus::kTokens);
  const ProgramResult result =
      job.train(1, "run", {"fault.non_finite=ROLLBACK", "fault.max_restarts=0", "optimizer.learning_rate=1e30"});
  EXPECT_EQ(result.exit_code, 93) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("20 batches in a row was not finite"));
  EXPECT_EQ(job.events("run", "restart").size(), 19U);
}

// The life after the rollback makes steps 9 to 11, which is as far as the one before had got.
TEST(NonFinite, ProgressBehindARollbackIsProgress) {
  const Workspace job(Corpus::kTokens);
  std::vector<std::string> settings = {"fault.non_finite=ROLLBACK", "fault.no_progress_limit=1",
                                       "fault.inject=nan@rank=0,step=12,phase=reduce"};
  ASSERT_EQ(job.train(2, "calm", settings).exit_code, 0);
  settings.push_back("fault.inject=kill@rank=1,step=12,phase=gather");
  const ProgramResult result = job.train(2, "harmed", settings);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(job.digest("harmed"), job.digest("calm"));
}

TEST(NonFinite, ACrashBehindARollbackNamesTheBatchThatWasUsed) {
  const Workspace job(Corpus::kTokens);
  const ProgramResult result = job.train(2, "run",
                                         {"fault.non_finite=ROLLBACK", "fault.inject=nan@rank=0,step=5,phase=reduce",
                                          "fault.inject=kill@rank=1,step=5,phase=gather"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("step 5 failed again; batch 5: samples ")) << "batch 4 is left out";
}

TEST(NonFinite, StopEndsTheRunForGood) {
  const Workspace job(Corpus::kTokens);
  const ProgramResult result = job.train(2, "run", {"fault.non_finite=STOP", kNan});
  EXPECT_EQ(result.exit_code, 93) << result.all_output();
  EXPECT_THAT(result.all_output(), ContainsRegex("error kangpt_dist: rank [01]: .*batch 6"));
  EXPECT_EQ(job.events("run", "failure").size(), 1U) << "all ranks say the same, and the first to say it is named";
  EXPECT_TRUE(job.events("run", "repeated_failure").empty());
}

// The manifest of a checkpoint, with as many batches left out, all far behind the run.
void leave_out(const fs::path& manifest, int batches) {
  std::string text = read_text(manifest);
  text.erase(text.rfind("# sha256 "));
  std::string list;
  for (int batch = 0; batch < batches; ++batch) list += "  left_out_batch: " + std::to_string(1000 + batch) + "\n";
  write_text(manifest, base::sealed(text.insert(text.find("  skipped_in_a_row:"), list)));
}

TEST(NonFinite, ABatchThatCantBeLeftOutAnyMoreEndsTheRun) {
  const Workspace job(Corpus::kTokens);
  const auto train = [&](const std::string& name, int left_out) {
    EXPECT_EQ(job.train(2, name, {"train.steps=4"}).exit_code, 0);
    leave_out(job.run(name) / "checkpoints/step-0000000004/manifest.textproto", left_out);
    return job.train(2, name, {"fault.non_finite=ROLLBACK", kNan});
  };
  const ProgramResult room = train("room", 255);
  EXPECT_EQ(room.exit_code, 0) << room.all_output();
  const std::string show = job.call("kangpt_checkpoint", {"show", job.run("room").string()}).stdout_text;
  EXPECT_THAT(show, AllOf(HasSubstr("left out batches     6 "), HasSubstr(" 1000 "), HasSubstr(" 1254")))
      << "none lost";
  const ProgramResult full = train("full", 256);
  EXPECT_EQ(full.exit_code, 93) << full.all_output();
  EXPECT_THAT(full.all_output(), AllOf(HasSubstr("batch 6"), HasSubstr("256 batches have been left out before")));
}

TEST(NonFinite, ACrashDoesNotForgetTheStepsSkippedInARow) {
  const Workspace job(Corpus::kTokens);
  std::vector<std::string> settings = {"train.steps=30", "fault.inject=kill@rank=0,step=9,phase=data"};
  for (int step = 1; step <= 20; ++step)
    settings.push_back("fault.inject=nan@rank=0,phase=reduce,step=" + std::to_string(step));
  const ProgramResult result = job.train(2, "run", settings);
  EXPECT_EQ(result.exit_code, 93) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("20 steps in a row were skipped"));
}

// Its mean and deviation are in the checkpoint.
TEST(LossSpike, TheSameStepsAreWarnedOfWhateverElseHappens) {
  const Workspace job(Corpus::kTokens);
  std::vector<std::string> settings = {"train.steps=60", "fault.loss_spike_sigma=0.5", "optimizer.schedule=CONSTANT",
                                       "optimizer.learning_rate=1e-6", "optimizer.minimum_learning_rate=0"};
  ASSERT_EQ(job.train(2, "calm", settings).exit_code, 0);
  settings.insert(settings.end(), {"fault.inject=kill@rank=0,step=25", "train.steps=31"});
  ASSERT_EQ(job.train(2, "harmed", settings).exit_code, 0);
  settings.push_back("train.steps=60");
  ASSERT_EQ(job.train(4, "harmed", settings).exit_code, 0);
  const auto spikes = [&](const std::string& run) {
    std::vector<std::string> found;
    for (const auto& event : job.events(run, "loss_spike")) found.push_back(event.at("step").dump());
    return found;
  };
  EXPECT_FALSE(spikes("calm").empty());
  EXPECT_LT(spikes("calm").size(), 40U);
  EXPECT_EQ(spikes("harmed"), spikes("calm"));
}

// Others in the list of a later start are others, whatever their place in it.
TEST(Faults, HappenOnceInARunOverAllItsStarts) {
  const Workspace job(Corpus::kTokens);
  const auto happened_after = [&](const std::vector<std::string>& settings) {
    const ProgramResult result = job.train(1, "run", settings);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return job.events("run", "fault_injected").size();
  };
  const std::string third = "fault.inject=kill@step=3", seventh = "fault.inject=KILL@rank=0,step=7";
  EXPECT_EQ(happened_after({third, "train.steps=5"}), 1U);
  EXPECT_EQ(happened_after({seventh, "train.steps=9"}), 2U);
  EXPECT_EQ(happened_after({third, seventh, "train.steps=12"}), 2U);
  const std::vector<std::string> anew = {"checkpoint.resume=NEVER", third, third, "train.steps=5"};
  EXPECT_EQ(happened_after(anew), 4U) << "another run in the same directory";
}

// Whatever an earlier run left there.
TEST(NewRun, FindsNothingInItsWay) {
  const Workspace job(Corpus::kTokens);
  ASSERT_EQ(job.train(2, "run", {"train.steps=4"}).exit_code, 0);
  const fs::path checkpoints = job.run("run") / "checkpoints";
  fs::create_directories(checkpoints / "quarantine");
  fs::rename(checkpoints / "step-0000000004", checkpoints / "quarantine/step-0000000004");
  fs::create_directory(checkpoints / "step-0000009999");
  const ProgramResult anew = job.train(2, "run", {"checkpoint.resume=NEVER", "checkpoint.keep_last=2"});
  ASSERT_EQ(anew.exit_code, 0) << anew.all_output();
  EXPECT_TRUE(fs::exists(job.run("run") / "checkpoints-before-1/quarantine/step-0000000004"));
  EXPECT_TRUE(fs::exists(job.run("run") / "checkpoints-before-1/step-0000009999"));
  EXPECT_EQ(std::distance(fs::directory_iterator(checkpoints), fs::directory_iterator()), 2);
}

TEST(NewRun, GoesOnWhereSlurmPutsTheSameJobBackIntoTheQueue) {
  const Workspace job(Corpus::kTokens);
  const auto start = [&](const std::string& slurm_job, const std::string& restarts, const std::string& steps) {
    ProgramOptions options = job.options();
    options.environment["SLURM_JOB_ID"] = slurm_job;
    options.environment["SLURM_RESTART_COUNT"] = restarts;
    BackgroundProgram program(
        job.training_command(2, "run",
                             {"checkpoint.resume=NEVER", "optimizer.schedule=CONSTANT", "train.steps=" + steps}),
        options);
    const ProgramResult result = job.finish(program);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return result.stderr_text;
  };
  ASSERT_EQ(job.train(2, "undisturbed", {"optimizer.schedule=CONSTANT"}).exit_code, 0);
  ASSERT_EQ(job.train(2, "run").exit_code, 0);  // an earlier run
  EXPECT_THAT(start("77", "0", "8"), HasSubstr("a fresh start"));
  EXPECT_THAT(start("77", "1", "12"), ContainsRegex("going on from [^ ]*step-0000000008"));
  EXPECT_EQ(job.digest("run"), job.digest("undisturbed"));
  EXPECT_THAT(start("77", "0", "4"), HasSubstr("a fresh start")) << "started again by hand in an allocation";
  EXPECT_THAT(start("78", "1", "4"), HasSubstr("a fresh start")) << "its first start did not come as far as this run";
}

// JSON has no place for such a name.
TEST(RunDirectory, MayHaveANameThatIsNoUtf8) {
  const Workspace job(Corpus::kTokens);
  const std::string name = "caf\xe9";
  ASSERT_EQ(job.train(2, "undisturbed", {"optimizer.schedule=CONSTANT"}).exit_code, 0);
  const ProgramResult first = job.train(2, name, {"optimizer.schedule=CONSTANT", "train.steps=8"});
  ASSERT_EQ(first.exit_code, 0) << first.all_output();
  const ProgramResult second = job.train(2, name, {"optimizer.schedule=CONSTANT", "fault.inject=kill@rank=1,step=10"});
  ASSERT_EQ(second.exit_code, 0) << second.all_output();
  EXPECT_EQ(job.digest(name), job.digest("undisturbed"));
  EXPECT_EQ(job.events(name, "start").size(), 2U);
}

TEST(RunDirectory, SecondJobIsRefusedAndNamesTheFirst) {
  const Workspace job(Corpus::kTokens);
  BackgroundProgram first(
      job.training_command(2, "run", {"fault.inject=stop@rank=0,step=3", "fault.hang_timeout_seconds=60"}),
      job.options());
  ASSERT_TRUE(first.wait_for_output("training "));
  const ProgramResult second = job.train(1, "run");
  EXPECT_EQ(second.exit_code, 78) << second.all_output();
  EXPECT_THAT(second.all_output(), HasSubstr("is in use by process "));
  first.send_signal(SIGKILL);
  job.finish(first);
  EXPECT_EQ(job.train(2, "run").exit_code, 0);  // its lock file is still there, and stale
}

TEST(RunDirectory, ReadOnlyIsAnErrorBeforeTrainingBegins) {
  const Workspace job(Corpus::kTokens);
  if (!mount_small_disk(job.run("disk"), "4m")) GTEST_SKIP() << "no right to mount a tmpfs here";
  ASSERT_EQ(job.train(2, "disk/run").exit_code, 0);
  const std::string digest = job.digest("disk/run");
  make_read_only(job.run("disk"));
  const ProgramResult result = job.train(2, "disk/run", {"train.steps=16"});
  EXPECT_EQ(result.exit_code, 74) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("Read-only file system"));
  EXPECT_EQ(job.digest("disk/run"), digest) << "what is there can still be read";
  unmount(job.run("disk"));
}

// All files and all kinds of damage: every_fault_test.
TEST(Checkpoints, DamagedFileOfTheNewestOneMeansTheOneBefore) {
  const Workspace job(Corpus::kTokens);
  ASSERT_EQ(job.train(2, "run").exit_code, 0);
  const std::string digest = job.digest("run");
  const fs::path file = job.run("run") / "checkpoints/step-0000000012/state-01-of-02.h5";
  flip_byte(file, fs::file_size(file) / 2);
  const ProgramResult result = job.train(2, "run");
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), AllOf(HasSubstr("state-01-of-02.h5"), HasSubstr("step-0000000008")));
  EXPECT_EQ(job.digest("run"), digest);
}

class FullDisk : public ::testing::Test {
 protected:
  ~FullDisk() override { unmount(disk_); }

  // A job in "disk/run" whose first checkpoint found no space on the disk, which has some now. None where this user may
  // not mount one.
  std::unique_ptr<BackgroundProgram> find_space_late(const std::vector<std::string>& settings) {
    if (!mount_small_disk(disk_, "4m")) return nullptr;
    const fs::path ballast = disk_ / "ballast";
    write_text(ballast, std::string(fs::space(disk_).free - 50'000, 'x'));
    auto program = std::make_unique<BackgroundProgram>(job_.training_command(2, "disk/run", settings), job_.options());
    EXPECT_TRUE(program->wait_for_output("could not be written")) << program->stderr_so_far();
    fs::remove(ballast);
    return program;
  }

  const Workspace job_{Corpus::kTokens};
  const fs::path disk_ = job_.run("disk");
};

// The checkpoints of the tiny network take 96 KB each. The full disk is found in the middle of the run or at its end;
// what its last start could not write of the record, the next one does.
TEST_F(FullDisk, TrainingGoesOnAndEndsWith74KeepingWhatFits) {
  ASSERT_EQ(job_.train(2, "reference").exit_code, 0);
  for (const std::string size : {"220k", "320k"}) {
    if (!mount_small_disk(disk_, size)) GTEST_SKIP() << "no right to mount a tmpfs here";
    const ProgramResult result = job_.train(2, "disk/run", {"checkpoint.keep_every=1"});
    EXPECT_EQ(result.exit_code, 74) << result.all_output();
    EXPECT_THAT(result.all_output(), HasSubstr("could not be written, the older ones are kept"));
    EXPECT_THAT(result.all_output(), HasSubstr("the last checkpoint could not be written"));
    EXPECT_EQ(job_.losses("disk/run"), job_.losses("reference"));
    resize_disk(disk_, "4m");
    EXPECT_EQ(job_.train(2, "disk/run").exit_code, 0) << "the same command, once there is space";
    EXPECT_EQ(job_.digest("disk/run"), job_.digest("reference"));
    EXPECT_EQ(job_.losses("disk/run"), job_.losses("reference"));
    unmount(disk_);
  }
}

// The checkpoint of step 4 finds no space, and the job ends at step 4 once there is some.
TEST_F(FullDisk, ACheckpointThatFailedIsWrittenBeforeTheJobEnds) {
  const auto program = find_space_late(
      {"fault.max_restarts=0", "fault.hang_timeout_seconds=60", "fault.inject=stop@rank=1,step=5,phase=data"});
  if (!program) GTEST_SKIP() << "no right to mount a tmpfs here";
  signal_rank(*program, "kangpt_worker", 0, SIGKILL);
  const ProgramResult result = job_.finish(*program);
  EXPECT_EQ(result.exit_code, 70) << result.all_output();
  EXPECT_TRUE(fs::exists(disk_ / "run/checkpoints/step-0000000004")) << result.all_output();
  EXPECT_EQ(job_.train(2, "disk/run").exit_code, 0);
  EXPECT_EQ(job_.train(2, "reference").exit_code, 0);
  EXPECT_EQ(job_.digest("disk/run"), job_.digest("reference"));
}

// The first tries fail, a later one finds space: training never notices.
TEST_F(FullDisk, ACheckpointIsTriedAgainOnceThereIsSpace) {
  const auto program = find_space_late({"train.steps=1000000", "checkpoint.interval_steps=0",
                                        "checkpoint.interval_seconds=1", "log.validation_interval_steps=0"});
  if (!program) GTEST_SKIP() << "no right to mount a tmpfs here";
  while (program->running() && job_.events("disk/run", "checkpoint").empty()) ::usleep(50'000);
  program->send_signal(SIGUSR1);
  EXPECT_EQ(job_.finish(*program).exit_code, 75);
  EXPECT_FALSE(job_.events("disk/run", "checkpoint_failed").empty());
  EXPECT_EQ(job_.call("kangpt_checkpoint", {"verify", "disk/run"}).exit_code, 0);
}

}  // namespace
}  // namespace kangpt::test
