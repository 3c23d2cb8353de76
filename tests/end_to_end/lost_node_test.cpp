// Jobs that lose a node with all that lies in its memory, far from any checkpoint: the next start goes on from the
// copies on the other. Nodes are pretended: each rank has a memory folder of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>
#include <set>

#include "sharding/memory_file.hpp"
#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr useconds_t kPollMicroseconds = 5000;
constexpr std::uint64_t kHeldStep = 30;  // training stands still in it
constexpr std::uint64_t kNewest = kHeldStep - 1;
const std::vector<std::string> kSettings = {"train.steps=60", "checkpoint.interval_steps=0", "log.interval_steps=1",
                                            "log.validation_interval_steps=0", "fault.hang_timeout_seconds=120"};

class LostNode : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    job_ = std::make_unique<Workspace>(Corpus::kTokens);
    ASSERT_EQ(job_->train(2, "reference", kSettings).exit_code, 0);
  }
  static void TearDownTestSuite() { job_.reset(); }

  static std::vector<std::string> held_settings() {
    std::vector<std::string> settings = kSettings;
    settings.push_back("fault.inject=stop@rank=1,step=" + std::to_string(kHeldStep));
    return settings;
  }

  // The steps that a file in a node's memory holds whole. It may be in use: a copy of it is looked at.
  static std::set<std::uint64_t> steps_in(const fs::path& file) {
    const TemporaryDirectory folder;
    std::error_code error;
    fs::copy(file, folder / file.filename(), error);
    std::set<std::uint64_t> steps;
    const auto memory = error ? std::nullopt : sharding::open_left_memory(folder / file.filename());
    if (!memory) return steps;
    for (const auto& held : memory->intact()) steps.insert(held.publication.state.step);
    return steps;
  }

  // Of rank `rank`; the path of nothing where there is none.
  static fs::path file_in(int node, int rank, const std::string& ending) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(job_->node_memory(node), error)) {
      if (entry.path().string().ends_with("-" + std::to_string(rank) + "-of-2" + ending)) return entry.path();
    }
    return job_->node_memory(node) / "none";
  }

  // A job on nodes 0 and 1 that has done kNewest steps, with copies of that one on both.
  static std::unique_ptr<BackgroundProgram> train_and_hold(const std::string& name) {
    auto program = std::make_unique<BackgroundProgram>(job_->training_command(std::vector{0, 1}, name, held_settings()),
                                                       job_->options());
    const auto are_copied = [] {
      return steps_in(file_in(0, 1, "-copy")).contains(kNewest) && steps_in(file_in(1, 0, "-copy")).contains(kNewest);
    };
    while (program->running() && !are_copied()) ::usleep(kPollMicroseconds);
    EXPECT_TRUE(program->running()) << program->stderr_so_far();
    return program;
  }

  // All that runs on it and all that lies in its memory. mpirun runs on node 0.
  static void lose_node(BackgroundProgram& program, int node) {
    const pid_t agent = process_of_rank(program, "kangpt_dist", node);
    const pid_t worker = process_of_rank(program, "kangpt_worker", node);
    if (node == 0) program.send_signal(SIGKILL);
    for (const pid_t pid : {agent, worker}) {
      if (pid > 0) ::kill(pid, SIGKILL);
    }
    fs::remove_all(job_->node_memory(node));
    job_->finish(program);
  }

  static ProgramResult train_on(const std::vector<int>& nodes, const std::string& name) {
    BackgroundProgram program(job_->training_command(nodes, name, kSettings), job_->options());
    ProgramResult result = job_->finish(program);
    for (const int node : nodes) EXPECT_TRUE(fs::is_empty(job_->node_memory(node))) << node;
    return result;
  }

  static void expect_went_on_from(std::uint64_t step, const std::string& name) {
    EXPECT_EQ(job_->events(name, "start").back().at("step"), step);
    EXPECT_LE(job_->events(name, "start").back().at("steps_lost"), kNewest - step);
    EXPECT_EQ(job_->digest(name), job_->digest("reference"));
    EXPECT_EQ(job_->losses(name), job_->losses("reference"));
  }

  inline static std::unique_ptr<Workspace> job_;
};

TEST_F(LostNode, CostsNoStepOnWhatIsLeftNorOnANewNode) {
  struct Case {
    int lost;
    std::vector<int> then;
  };
  int run = 0;
  for (const auto& [lost, then] : {Case{0, {1, 2}}, Case{1, {0}}, Case{1, {2, 0}}}) {
    const std::string name = "lost-" + std::to_string(run++);
    const auto program = train_and_hold(name);
    lose_node(*program, lost);
    const ProgramResult result = train_on(then, name);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    expect_went_on_from(kNewest, name);
  }
}

// A bit that flipped, and half of a slot that was never written.
TEST_F(LostNode, ADamagedCopyLeavesTheStepBefore) {
  const auto flip = [](std::span<float> values) { values[values.size() / 2] += 1; };
  const auto tear = [](std::span<float> values) { std::ranges::fill(values.subspan(values.size() / 2), 0.0F); };
  for (const auto& [name, damage] :
       {std::pair<std::string, std::function<void(std::span<float>)>>{"flipped", flip}, {"torn", tear}}) {
    const auto program = train_and_hold(name);
    lose_node(*program, 1);
    {
      const auto copy = sharding::open_left_memory(file_in(0, 1, "-copy"));
      ASSERT_TRUE(copy);
      ASSERT_EQ(copy->noted().front().publication.state.step, kNewest);
      damage(copy->slot(copy->noted().front().slot).first_moment);
    }
    ASSERT_EQ(train_on({0}, name).exit_code, 0);
    expect_went_on_from(kNewest - 1, name);
  }
}

TEST_F(LostNode, WithoutCopiesGoesBackToTheLastCheckpoint) {
  std::vector<std::string> settings = held_settings();
  settings.emplace_back("checkpoint.copy_interval_steps=0");
  BackgroundProgram program(job_->training_command(std::vector{0, 1}, "off", settings), job_->options());
  while (program.running() && job_->events("off", "fault_injected").empty()) ::usleep(kPollMicroseconds);
  EXPECT_FALSE(fs::exists(file_in(0, 1, "-copy")));
  lose_node(program, 1);
  ASSERT_EQ(train_on({0}, "off").exit_code, 0);
  EXPECT_EQ(job_->events("off", "start").back().at("step"), 0);
  EXPECT_EQ(job_->digest("off"), job_->digest("reference"));
}

TEST_F(LostNode, WhatIsLeftIsNamedAndCanBeRemoved) {
  const auto program = train_and_hold("named");
  lose_node(*program, 1);
  ProgramOptions options = job_->options();
  options.environment["KANGPT_SHM"] = job_->node_memory(0).string();
  const std::vector<std::string> memory = {program_path("kangpt_checkpoint"), "memory"};
  EXPECT_THAT(run_program(memory, options).stdout_text, HasSubstr("copy of rank 1 of 2"));
  EXPECT_EQ(run_program({memory[0], memory[1], "--remove"}, options).exit_code, 0);
  EXPECT_TRUE(fs::is_empty(job_->node_memory(0)));
}

TEST_F(LostNode, WithoutRoomForCopiesTrainingGoesOnAndSaysSoOnce) {
  std::vector<std::string> command = job_->training_command(std::vector{0, 1}, "no-room", kSettings);
  fs::remove_all(job_->node_memory(1));
  BackgroundProgram program(command, job_->options());
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0);
  const std::string said = "no copies of snapshots on other nodes, since rank 1 has no place for them";
  const std::size_t first = result.stderr_text.find(said);
  ASSERT_NE(first, std::string::npos) << result.stderr_text;
  EXPECT_EQ(result.stderr_text.find(said, first + 1), std::string::npos);
  EXPECT_EQ(job_->digest("no-room"), job_->digest("reference"));
  EXPECT_TRUE(fs::is_empty(job_->node_memory(0)));
}

// Crashes of workers do not disturb the copies, nor these the workers.
TEST_F(LostNode, CrashesOfWorkersBesideCopiesKeepTheBits) {
  std::vector<std::string> settings = kSettings;
  for (const char* const fault : {"segv@rank=0,step=9,phase=reduce", "kill@rank=1,step=10,phase=update",
                                  "kill@rank=0,step=20,phase=snapshot", "abort@rank=1,step=41,phase=gather"})
    settings.push_back(std::string("fault.inject=") + fault);
  BackgroundProgram program(job_->training_command(std::vector{0, 1}, "crashes", settings), job_->options());
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(job_->events("crashes", "restart").size(), 4U);
  EXPECT_EQ(job_->digest("crashes"), job_->digest("reference"));
  EXPECT_EQ(job_->losses("crashes"), job_->losses("reference"));
}

}  // namespace
}  // namespace kangpt::test
