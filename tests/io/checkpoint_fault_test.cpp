// Checkpoints under SIGKILL, on a full disk, on a read-only one and on one that can't be read. KANGPT_KILLS is how many
// writers are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <random>

#include "base/error.hpp"
#include "base/shared_memory.hpp"
#include "tests/io/checkpoint_fixture.hpp"
#include "tests/support/files.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Every value tells its step, so that a mixture of two would be noticed.
test::FlatState state_of(std::uint64_t step, std::size_t size) {
  const auto value = static_cast<float>(step);
  return {std::vector<float>(size, value), std::vector<float>(size, value + 0.25F),
          std::vector<float>(size, value + 0.5F)};
}

bool holds_its_step(const Checkpoint& checkpoint) {
  const std::size_t size = checkpoint.manifest().flat_size;
  test::FlatState found = state_of(0, size);
  checkpoint.read(0, found.parameters, found.first_moment, found.second_moment);
  const test::FlatState expected = state_of(checkpoint.manifest().state.step, size);
  return found.parameters == expected.parameters && found.first_moment == expected.first_moment &&
         found.second_moment == expected.second_moment;
}

// Writes checkpoint after checkpoint and prunes, as a job does, until it is killed. `newest` is the last that was
// committed.
[[noreturn]] void write_for_ever(const fs::path& checkpoints, std::uint64_t step, std::atomic<std::uint64_t>& newest) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;; ++step) {
    test::write_checkpoint(checkpoints, step, 1 << (step % 3), state_of(step, 64 << (step % 10)));
    newest = step;
    prune_checkpoints(checkpoints, {.last = 2, .every = 10});
  }
}

TEST(CheckpointKill, WhateverTheMomentOnlyCompleteOnesAreListedAndNoneIsLost) {
  const test::TemporaryDirectory directory;
  const base::SharedMemory memory = base::SharedMemory::create("newest", sizeof(std::atomic<std::uint64_t>));
  auto& newest = *new (memory.bytes().data()) std::atomic<std::uint64_t>(0);
  std::mt19937_64 random(4);
  for (int kill = 0; kill < KANGPT_KILLS; ++kill) {
    const std::uint64_t first = newest + 1;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_for_ever(directory.path(), first, newest);
    for (int wait = 0; kill % 2 == 1 && newest < first && wait < 60'000; ++wait) ::usleep(1000);  // to get on at all
    ::usleep(static_cast<useconds_t>(random() % 40'000));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);

    const std::vector<fs::path> listed = list_checkpoints(directory.path());
    for (const fs::path& folder : listed) ASSERT_TRUE(holds_its_step(Checkpoint(folder))) << folder;
    const auto valid = newest_valid_checkpoint(directory.path(), [](const std::string& why) { FAIL() << why; });
    ASSERT_EQ(valid.has_value(), !listed.empty());
    const std::uint64_t found = valid ? valid->manifest().state.step : 0;
    ASSERT_GE(found, newest.load()) << "a committed checkpoint was lost";
    ASSERT_GE(listed.size(), std::min<std::uint64_t>(found, 2));
    newest = found;
  }
  EXPECT_GE(newest.load(), KANGPT_KILLS / 2) << "the writer did not get on";
}

// Runs `body` in a child process, since namespaces and limits don't come back.
void in_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    std::fflush(nullptr);
    ::_exit(::testing::Test::IsSkipped() ? 2 : ::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "this user may not mount a tmpfs: no full or read-only disk was tried";
  ASSERT_EQ(WEXITSTATUS(status), 0);
}

// Writes steps until one fails; returns that step. The error must say what to do.
std::uint64_t write_until_full(const fs::path& checkpoints, std::size_t size) {
  for (std::uint64_t step = 1; step < 100; ++step) {
    try {
      test::write_checkpoint(checkpoints, step, 2, state_of(step, size));
    } catch (const IoError& error) {
      EXPECT_THAT(error.what(), HasSubstr(".tmp/state-"));
      EXPECT_THAT(error.what(), HasSubstr("written before are untouched"));
      return step;
    }
  }
  return 0;
}

TEST(CheckpointDisk, AFullDiskKeepsTheOlderOnesAndGivesItsSpaceBack) {
  const test::TemporaryDirectory directory;
  in_child([&] {
    if (!test::mount_small_disk(directory.path(), "2m")) GTEST_SKIP();
    const std::uintmax_t free_bytes = fs::space(directory.path()).free;
    const std::uint64_t failed = write_until_full(directory.path(), 30 << 10);  // 360 KiB each
    ASSERT_GT(failed, 2u);
    EXPECT_EQ(list_checkpoints(directory.path()).size(), failed - 1);
    abandon_checkpoint(directory.path() / (checkpoint_name(failed) + ".tmp"));
    prune_checkpoints(directory.path(), {.last = 2});
    EXPECT_EQ(list_checkpoints(directory.path()).size(), 2u);
    EXPECT_TRUE(holds_its_step(Checkpoint(list_checkpoints(directory.path()).front())));
    EXPECT_NO_THROW(test::write_checkpoint(directory.path(), failed, 2, state_of(failed, 30 << 10)));
    EXPECT_TRUE(holds_its_step(Checkpoint(list_checkpoints(directory.path()).front())));
    for (const fs::path& folder : list_checkpoints(directory.path())) fs::remove_all(folder);
    EXPECT_EQ(fs::space(directory.path()).free, free_bytes) << "a file whose writing failed is still open";
  });
}

std::ptrdiff_t open_files() {
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

// At whatever byte the disk is full: HDF5's own writes, those at its close, the manifest.
TEST(CheckpointDisk, WhereverItFillsUpTheErrorIsAnIoError) {
  const test::TemporaryDirectory directory;
  in_child([&] {
    if (!test::mount_small_disk(directory.path(), "1m")) GTEST_SKIP();
    const fs::path ballast = directory / "ballast";
    const std::ptrdiff_t before = open_files();
    int failures = 0;
    for (std::size_t free_bytes = 0; free_bytes <= (64 << 10); free_bytes += 4096) {
      test::write_text(ballast, std::string(fs::space(directory.path()).free - free_bytes, 'x'));
      try {
        test::write_checkpoint(directory / "checkpoints", 1, 2, state_of(1, 1024));
      } catch (const IoError&) {
        ++failures;
        EXPECT_TRUE(list_checkpoints(directory / "checkpoints").empty());
      }
      fs::remove(ballast);
      fs::remove_all(directory / "checkpoints");
    }
    EXPECT_GT(failures, 5);
    EXPECT_EQ(open_files(), before);
  });
}

// Training goes on for days on a full disk, and tries again and again.
TEST(CheckpointDisk, WritesThatFailKeepNoMemory) {
  const test::TemporaryDirectory directory;
  in_child([&] {
    if (!test::mount_small_disk(directory.path(), "1m")) GTEST_SKIP();
    const auto fail_at = [&](std::size_t free_bytes) {
      test::write_text(directory / "ballast", std::string(fs::space(directory.path()).free - free_bytes, 'x'));
      for (int i = 0; i < 20; ++i)
        EXPECT_THROW(test::write_checkpoint(directory / "checkpoints", 1, 1, state_of(1, 1024)), IoError);
      fs::remove(directory / "ballast");
    };
    fail_at(8 << 10);
    const std::size_t before_bytes = ::mallinfo2().uordblks;
    for (std::size_t free_bytes = 4 << 10; free_bytes <= 20 << 10; free_bytes += 4 << 10) fail_at(free_bytes);
    EXPECT_LT(::mallinfo2().uordblks, before_bytes + (1 << 20));
  });
}

// On a bad disk or a file server that does not answer. Nothing is known to be wrong with the checkpoint itself.
class CheckpointUnreadable : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const std::uint64_t step : {1U, 2U, 3U}) test::write_checkpoint(checkpoints_, step, 2, state_of(step, 64));
  }
  void TearDown() override { ::unsetenv("KANGPT_UNREADABLE"); }
  static void make_unreadable(const std::string& part) { ::setenv("KANGPT_UNREADABLE", part.c_str(), 1); }

  std::optional<Checkpoint> newest(std::uint64_t below_step = kNoLimit) {
    reports_.clear();
    return newest_valid_checkpoint(
        checkpoints_, [this](const std::string& text) { reports_ += text; }, below_step);
  }

  const test::TemporaryDirectory directory_;
  fs::path checkpoints_ = directory_ / "run" / "checkpoints";
  std::string reports_;
};

TEST_P(CheckpointUnreadable, TheOneBeforeIsTakenAndItStaysWhereItIs) {
  make_unreadable(checkpoint_name(3) + "/" + GetParam());
  EXPECT_EQ(newest()->manifest().state.step, 2U);
  EXPECT_THAT(reports_, AllOf(HasSubstr(GetParam()), HasSubstr("Input/output error"), HasSubstr("left where it is")));
  EXPECT_EQ(open_checkpoint(directory_ / "run").manifest().state.step, 2U);
  EXPECT_THROW(Checkpoint{checkpoints_ / checkpoint_name(3)}, IoError);
  make_unreadable("nothing");
  EXPECT_EQ(newest()->manifest().state.step, 3U);
}

TEST_P(CheckpointUnreadable, NoneAtAllIsAnIoErrorAndNoFreshStart) {
  make_unreadable(GetParam());
  EXPECT_THROW(newest(), IoError);
  EXPECT_THROW(open_checkpoint(directory_ / "run"), IoError);
  EXPECT_FALSE(fs::exists(checkpoints_ / "quarantine"));
  EXPECT_EQ(list_checkpoints(checkpoints_).size(), 3U);
}

INSTANTIATE_TEST_SUITE_P(EveryFile, CheckpointUnreadable, ::testing::Values("manifest.textproto", "state-01-of-02.h5"));

TEST_F(CheckpointUnreadable, ABadOneBesideIsStillMovedAway) {
  test::flip_byte(checkpoints_ / checkpoint_name(2) / "state-01-of-02.h5", 3000);
  make_unreadable(checkpoint_name(3));
  EXPECT_EQ(newest()->manifest().state.step, 1U);
  EXPECT_TRUE(fs::exists(checkpoints_ / checkpoint_name(3)));
  EXPECT_TRUE(fs::exists(checkpoints_ / "quarantine" / checkpoint_name(2)));
}

TEST_F(CheckpointUnreadable, OlderOnesAreFoundBelowAStep) {
  EXPECT_EQ(newest(3)->manifest().state.step, 2U);
  EXPECT_FALSE(newest(1).has_value());
}

TEST(CheckpointDisk, AFileThatMayNotGrowIsAnIoErrorAndIsRemoved) {
  const test::TemporaryDirectory directory;
  in_child([&] {
    test::write_checkpoint(directory.path(), 1, 2, state_of(1, 64));
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit tight{50'000, 50'000};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
    const fs::path folder = begin_checkpoint(directory.path(), 2);
    const test::FlatState state = state_of(2, 32 << 10);
    EXPECT_THROW(write_range(folder, {0, 1}, 2, {0, state.parameters, state.first_moment, state.second_moment}),
                 IoError);
    EXPECT_TRUE(fs::is_empty(folder));
    EXPECT_EQ(open_checkpoint(directory.path()).manifest().state.step, 1u);
  });
}

TEST(CheckpointDisk, AReadOnlyDiskIsReadAndTheBadOneStaysWhereItIs) {
  const test::TemporaryDirectory directory;
  in_child([&] {
    if (!test::mount_small_disk(directory.path(), "2m")) GTEST_SKIP();
    for (const std::uint64_t step : {1U, 2U}) test::write_checkpoint(directory.path(), step, 2, state_of(step, 64));
    test::flip_byte(directory / checkpoint_name(2) / "state-01-of-02.h5", 3000);
    test::make_read_only(directory.path());
    std::string report;
    const auto valid = newest_valid_checkpoint(directory.path(), [&](const std::string& text) { report = text; });
    EXPECT_EQ(valid->manifest().state.step, 1u);
    EXPECT_THAT(report, HasSubstr("left where it is"));
    EXPECT_THROW(begin_checkpoint(directory.path(), 3), IoError);
  });
}

}  // namespace
}  // namespace kangpt::io
