// What a job does about losses that are not finite, disks that are full or damaged, and a second job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <csignal>

#include "tests/end_to_end/tiny_job.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;

const std::string kNan = "fault.inject=nan@rank=0,step=7,phase=reduce";

TEST(NonFinite, SkippedBatchLeavesTheSameBitsWhateverElseHappens) {
  const TinyJob job;
  EXPECT_EQ(job.train({.run = "calm", .set = {kNan}}).exit_code, 0);
  EXPECT_EQ(
      job.train({.ranks = 4, .run = "harmed", .set = {kNan, "fault.inject=kill@rank=2,step=9,phase=update"}}).exit_code,
      0);
  EXPECT_EQ(job.digest("harmed"), job.digest("calm"));
  ASSERT_EQ(job.events("harmed", "skipped").size(), 1U);
  EXPECT_EQ(job.events("harmed", "skipped")[0].at("batch"), 6);
  EXPECT_EQ(job.losses("harmed").size(), 12U);
}

TEST(NonFinite, RollbackLeavesTheBatchOutFromThenOn) {
  const TinyJob job;
  const std::string rollback = "fault.non_finite=ROLLBACK";
  EXPECT_EQ(job.train({.run = "calm", .set = {rollback, kNan}}).exit_code, 0);
  const Start harmed{.run = "harmed",
                     .set = {rollback, kNan, "fault.inject=kill@rank=1,step=6,phase=update",
                             "fault.inject=segv@rank=0,step=8,phase=gather"}};
  EXPECT_EQ(job.train(harmed).exit_code, 0);
  EXPECT_EQ(job.digest("harmed"), job.digest("calm"));
  EXPECT_EQ(job.losses("harmed"), job.losses("calm"));
  ASSERT_EQ(job.events("calm", "restart").size(), 1U);
  EXPECT_EQ(job.events("calm", "restart")[0].at("step"), 4);  // the newest checkpoint
  EXPECT_EQ(job.train({.run = "undisturbed"}).exit_code, 0);
  EXPECT_EQ(job.losses("calm").at(6), job.losses("undisturbed").at(6));
  EXPECT_NE(job.losses("calm").at(7), job.losses("undisturbed").at(7));
}

TEST(NonFinite, StopEndsTheRunForGood) {
  const TinyJob job;
  const ProgramResult result = job.train({.set = {"fault.non_finite=STOP", kNan}});
  EXPECT_EQ(result.exit_code, 93) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("batch 6"));
}

TEST(RunDirectory, SecondJobIsRefusedAndNamesTheFirst) {
  const TinyJob job;
  BackgroundProgram first(job.command({.set = {"fault.inject=stop@rank=0,step=3", "fault.hang_timeout_seconds=60"}}),
                          job.options());
  ASSERT_TRUE(first.wait_for_output("training "));
  const ProgramResult second = job.train({.ranks = 1});
  EXPECT_EQ(second.exit_code, 78) << second.all_output();
  EXPECT_THAT(second.all_output(), HasSubstr("is in use by process "));
  first.send_signal(SIGKILL);
  job.finish(first);
  EXPECT_EQ(job.train({}).exit_code, 0);  // its lock file is still there, and stale
}

TEST(Checkpoints, DamagedFileOfTheNewestOneMeansTheOneBefore) {
  const TinyJob job;
  ASSERT_EQ(job.train({.run = "reference"}).exit_code, 0);
  const fs::path checkpoints = job.run("run") / "checkpoints";
  fs::copy(job.run("reference"), job.run("run"), fs::copy_options::recursive);
  for (const std::string file : {"manifest.textproto", "state-00-of-02.h5", "state-01-of-02.h5"}) {
    flip_byte(checkpoints / "step-0000000012" / file, fs::file_size(checkpoints / "step-0000000012" / file) / 2);
    const ProgramResult result = job.train({});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.all_output(), HasSubstr("going on from " + (checkpoints / "step-0000000008").string()));
    EXPECT_EQ(job.digest("run"), job.digest("reference")) << file;
    EXPECT_EQ(job.losses("run"), job.losses("reference")) << file;
  }
}

// A tmpfs of its own in a mount namespace of its own, which nobody else on the machine sees.
bool mount_small_disk(const fs::path& folder, const std::string& size) {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", folder.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
}

TEST(FullDisk, TrainingGoesOnAndEndsWith74KeepingWhatFits) {
  const TinyJob job;
  const fs::path disk = job.run("disk");
  fs::create_directories(disk);
  if (!mount_small_disk(disk, "500k")) GTEST_SKIP() << "no right to mount a tmpfs here";
  const Start start{.run = "disk/run", .set = {"checkpoint.keep_every=1"}};
  const ProgramResult result = job.train(start);
  EXPECT_EQ(result.exit_code, 74) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("could not be written, the older ones are kept"));
  EXPECT_THAT(result.all_output(), HasSubstr("the last checkpoint could not be written"));
  EXPECT_EQ(job.losses("disk/run").size(), 12U);
  ::umount2(disk.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace kangpt::test
