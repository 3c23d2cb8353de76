// Jobs that are killed as a whole, far from any checkpoint: the next start finds their snapshots in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "tests/end_to_end/training_run.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr useconds_t kPollMicroseconds = 2000;
constexpr std::size_t kStepsBefore = 30;  // and agents need a moment to see that their mpirun is gone
const std::vector<std::string> kSettings = {"train.steps=600", "checkpoint.interval_steps=0", "log.interval_steps=1",
                                            "log.validation_interval_steps=0"};

class LeftMemory : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    job_ = std::make_unique<Workspace>(Corpus::kTokens);
    ASSERT_EQ(job_->train(2, "reference", kSettings).exit_code, 0);
  }
  static void TearDownTestSuite() { job_.reset(); }

  static std::size_t steps_logged(const std::string& name) {
    std::ifstream file(job_->run(name) / "metrics.jsonl");
    return static_cast<std::size_t>(
        std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
  }

  // Starts a job and kills `whom` (mpirun's own process, or of one rank) after some steps.
  static void train_and_kill(const std::string& name, const char* whom = "mpirun", int rank = 0) {
    BackgroundProgram program(job_->training_command(2, name, kSettings), job_->options());
    while (program.running() && steps_logged(name) < kStepsBefore) ::usleep(kPollMicroseconds);
    ASSERT_TRUE(program.running()) << "it was done before it was killed";
    if (whom == std::string("mpirun")) {
      program.send_signal(SIGKILL);
    } else {
      signal_rank(program, whom, rank, SIGKILL);
    }
    job_->finish(program);
  }

  static std::uint64_t first_step_of_last_start(const std::string& name) {
    return job_->events(name, "start").back().at("step");
  }

  static void expect_at_most_one_step_lost_and_same_bits(const std::string& name) {
    EXPECT_LE(job_->events(name, "start").back().at("steps_lost"), 1);
    EXPECT_GE(first_step_of_last_start(name), kStepsBefore - 1);
    EXPECT_EQ(job_->digest(name), job_->digest("reference"));
    EXPECT_EQ(job_->losses(name), job_->losses("reference"));
  }

  // Flips a bit in the middle of every memory file, or at its end.
  enum class Where { kSlots, kLabel };
  static void damage(Where where) {
    for (const fs::directory_entry& entry : fs::directory_iterator(job_->memory())) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      const auto size = static_cast<std::streamoff>(entry.file_size());
      // The slots are the last three quarters at two ranks; each has some of the bytes flipped.
      const std::vector<std::streamoff> offsets =
          where == Where::kLabel ? std::vector{size - 4096} : std::vector{size * 6 / 10, size * 9 / 10};
      for (const std::streamoff offset : offsets) {
        file.seekg(offset);
        const int byte = file.get();
        file.seekp(offset);
        file.put(static_cast<char>(byte ^ 1));
      }
    }
  }

  inline static std::unique_ptr<Workspace> job_;
};

TEST_F(LeftMemory, AKilledMpirunCostsNoStepWhateverTheNumberOfRanksThen) {
  for (const int ranks : {1, 2, 4}) {
    const std::string name = "mpirun-" + std::to_string(ranks);
    train_and_kill(name);
    const ProgramResult result = job_->train(ranks, name, kSettings);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.stderr_text, HasSubstr("left in memory, is now a checkpoint"));
    expect_at_most_one_step_lost_and_same_bits(name);
  }
}

// Three ranks can't train.
TEST_F(LeftMemory, IsSavedByAnyNumberOfRanks) {
  train_and_kill("saved");
  std::vector<std::string> command = job_->training_command(3, "saved", kSettings);
  command.push_back("--save-memory");
  BackgroundProgram saving(command, job_->options());
  const ProgramResult result = job_->finish(saving);
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.stderr_text, HasSubstr("left in memory, is now a checkpoint"));
  ASSERT_EQ(job_->train(2, "saved", kSettings).exit_code, 0);
  expect_at_most_one_step_lost_and_same_bits("saved");
}

TEST_F(LeftMemory, AKilledAgentCostsNoStep) {
  for (const int rank : {0, 1}) {
    const std::string name = "agent-" + std::to_string(rank);
    train_and_kill(name, "kangpt_dist", rank);
    ASSERT_EQ(job_->train(2, name, kSettings).exit_code, 0);
    expect_at_most_one_step_lost_and_same_bits(name);
  }
}

// Nor what does not say any more whose it is.
TEST_F(LeftMemory, DamagedMemoryIsNotUsed) {
  for (const auto& [name, where] : {std::pair{"damaged", Where::kSlots}, std::pair{"unlabelled", Where::kLabel}}) {
    train_and_kill(name);
    damage(where);
    ASSERT_EQ(job_->train(2, name, kSettings).exit_code, 0);
    EXPECT_EQ(first_step_of_last_start(name), 0U);
    EXPECT_EQ(job_->digest(name), job_->digest("reference"));
  }
}

TEST_F(LeftMemory, ACopyOfARunLeavesTheMemoryOfTheRun) {
  train_and_kill("original");
  fs::copy(job_->run("original"), job_->run("copy"), fs::copy_options::recursive);
  BackgroundProgram copy(job_->training_command(2, "copy", kSettings), job_->options());
  EXPECT_EQ(copy.wait().exit_code, 0);
  EXPECT_EQ(first_step_of_last_start("copy"), 0U);
  ASSERT_EQ(job_->train(2, "original", kSettings).exit_code, 0);
  expect_at_most_one_step_lost_and_same_bits("original");
}

TEST_F(LeftMemory, WhatCannotBeWrittenStaysInMemory) {
  train_and_kill("blocked");
  const fs::path checkpoints = job_->run("blocked") / "checkpoints";
  fs::remove_all(checkpoints);
  write_text(checkpoints, "in the way");
  const ProgramResult blocked = job_->train(2, "blocked", kSettings);
  EXPECT_EQ(blocked.exit_code, 74) << blocked.all_output();
  fs::remove(checkpoints);
  ASSERT_EQ(job_->train(2, "blocked", kSettings).exit_code, 0);
  expect_at_most_one_step_lost_and_same_bits("blocked");
}

// What one rank keeps is of no use alone.
TEST_F(LeftMemory, WithRoomForOneRankAloneTrainingGoesOnAndSaysWhatThatCosts) {
  train_and_kill("measured");
  const std::uintmax_t file_bytes = fs::directory_iterator(job_->memory())->file_size();
  ASSERT_EQ(job_->train(2, "measured", kSettings).exit_code, 0);
  if (!mount_small_disk(job_->memory(), std::to_string(file_bytes * 3 / 2)))
    GTEST_SKIP() << "no right to mount a tmpfs";
  train_and_kill("narrow");
  EXPECT_TRUE(fs::is_empty(job_->memory()));
  const ProgramResult result = job_->train(2, "narrow", kSettings);
  unmount(job_->memory());
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.stderr_text, HasSubstr("all steps since the last checkpoint are computed again"));
  EXPECT_EQ(first_step_of_last_start("narrow"), 0U);
  EXPECT_EQ(job_->digest("narrow"), job_->digest("reference"));
}

TEST_F(LeftMemory, WithoutRoomForItTrainingGoesOnAndSaysWhatThatCosts) {
  ProgramOptions options = job_->options();
  options.environment["KANGPT_SHM"] = (job_->path() / "missing").string();
  BackgroundProgram program(job_->training_command(2, "no-room", kSettings), options);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.stderr_text, HasSubstr("KANGPT_SHM"));
  EXPECT_EQ(job_->digest("no-room"), job_->digest("reference"));
}

}  // namespace
}  // namespace kangpt::test
