// Jobs of which everything is killed at once, at random moments and again and again: the digest stays the same, no
// checkpoint is torn, and far from any checkpoint at most one step is lost each time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <random>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

constexpr int kKills = 220;
constexpr useconds_t kPollMicroseconds = 500;
constexpr useconds_t kLongestLifeMicroseconds = 2'500'000;  // starting takes about 1 s of it
constexpr useconds_t kLongestWriteMicroseconds = 20'000;    // from the folder's appearance to its rename

const std::vector<std::string> kSettings = {"train.steps=400", "checkpoint.interval_steps=1", "checkpoint.keep_last=2",
                                            "log.validation_interval_steps=100"};

void kill_all(const BackgroundProgram& program) {
  for (auto pids = program.processes(); !pids.empty(); pids = program.processes()) {
    for (const pid_t pid : pids) ::kill(pid, SIGKILL);
    ::usleep(kPollMicroseconds);
  }
}

// Open MPI deletes the name of its shared memory at the end of MPI_Init; whoever is killed within it leaves it behind.
void remove_segments_of_unfinished_starts(const Workspace& job, const BackgroundProgram& program) {
  if (program.stderr_so_far().find("training ") != std::string::npos) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(job.path() / "shm")) fs::remove_all(entry.path());
}

bool is_writing(const fs::path& checkpoints) {
  std::error_code error;
  for (fs::directory_iterator entry(checkpoints, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".tmp") return true;
  }
  return false;
}

class KilledJobs : public ::testing::Test {
 protected:
  std::string name() const { return "run-" + std::to_string(finished_); }

  void live_somewhat(BackgroundProgram& program) {
    const useconds_t life = static_cast<useconds_t>(random_() % kLongestLifeMicroseconds);
    for (useconds_t passed = 0; passed < life && program.running(); passed += kPollMicroseconds)
      ::usleep(kPollMicroseconds);
  }

  // Until a random moment, of every second start one at which a checkpoint is being written. False if the job ended.
  bool live(BackgroundProgram& program, bool aim_at_writing) {
    live_somewhat(program);
    if (!aim_at_writing) return program.running();
    while (program.running() && !is_writing(job_.run(name()) / "checkpoints")) ::usleep(kPollMicroseconds);
    ::usleep(static_cast<useconds_t>(random_() % kLongestWriteMicroseconds));
    return program.running();
  }

  void expect_no_torn_checkpoint() {
    if (!fs::exists(job_.run(name()) / "checkpoints")) return;
    const ProgramResult verified = job_.call("kangpt_checkpoint", {"verify", job_.run(name()).string()});
    const bool none_yet = verified.exit_code == 66;
    EXPECT_TRUE(verified.exit_code == 0 || none_yet) << verified.all_output();
  }

  void expect_same_as_reference() {
    EXPECT_EQ(job_.digest(name()), job_.digest("reference"));
    EXPECT_EQ(job_.losses(name()), job_.losses("reference"));
    EXPECT_FALSE(fs::exists(job_.run(name()) / "checkpoints/quarantine"));
  }

  void expect_at_most_one_step_lost() {
    const std::vector<nlohmann::json> starts = job_.events(name(), "start");
    for (std::size_t i = 1; i < starts.size(); ++i) EXPECT_LE(starts[i].at("steps_lost"), 1) << starts[i];
  }

  const Workspace job_{Corpus::kTokens};
  std::mt19937_64 random_{9};
  int finished_ = 0;
};

TEST_F(KilledJobs, AtWhateverMomentEndWithTheSameBitsAndTearNoCheckpoint) {
  ASSERT_EQ(job_.train(2, "reference", kSettings).exit_code, 0);
  int while_writing = 0;
  for (int kills = 0; kills < kKills && !HasFailure();) {
    BackgroundProgram program(job_.training_command(2, name(), kSettings), job_.options());
    if (live(program, kills % 2 == 1)) {
      kill_all(program);
      remove_segments_of_unfinished_starts(job_, program);
      ++kills;
    }
    const ProgramResult result = job_.finish(program);
    if (is_writing(job_.run(name()) / "checkpoints")) ++while_writing;
    expect_no_torn_checkpoint();
    if (result.exit_code != 0) {
      ASSERT_EQ(result.exit_code, -1) << result.all_output();
      continue;
    }
    expect_same_as_reference();
    ++finished_;
  }
  EXPECT_EQ(job_.train(2, name(), kSettings).exit_code, 0);
  expect_same_as_reference();
  EXPECT_GT(while_writing, kKills / 10) << "the moments miss the writing of checkpoints";
  RecordProperty("kills_while_writing", while_writing);
  RecordProperty("runs", finished_ + 1);
}

// With two ranks, then one, then four, and so on.
TEST_F(KilledJobs, FarFromAnyCheckpointLoseAtMostOneStep) {
  const std::vector<std::string> far = {"train.steps=2000", "checkpoint.interval_steps=0", "log.interval_steps=1",
                                        "log.validation_interval_steps=0"};
  ASSERT_EQ(job_.train(2, "reference", far).exit_code, 0);
  for (int kills = 0; kills < kKills && !HasFailure();) {
    BackgroundProgram program(
        job_.training_command(std::array{2, 1, 4}[static_cast<std::size_t>(kills) % 3], name(), far), job_.options());
    live_somewhat(program);
    if (program.running()) {
      kill_all(program);
      remove_segments_of_unfinished_starts(job_, program);
      ++kills;
    }
    const ProgramResult result = job_.finish(program);
    expect_at_most_one_step_lost();
    if (result.exit_code != 0) {
      ASSERT_EQ(result.exit_code, -1) << result.all_output();
      continue;
    }
    expect_same_as_reference();
    ++finished_;
  }
  EXPECT_EQ(job_.train(2, name(), far).exit_code, 0);
  expect_same_as_reference();
  RecordProperty("runs", finished_ + 1);
}

}  // namespace
}  // namespace kangpt::test
