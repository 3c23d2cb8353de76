// Every kind of fault in every phase of a step, every world size, and chaos: the digest stays the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kPhases = {"data",   "forward", "backward", "reduce",
                                          "update", "gather",  "snapshot", "checkpoint"};

class EveryFault : public ComparedJob, public ::testing::WithParamInterface<std::string> {};

// A fault of this kind in each phase, on the ranks in turn.
std::vector<std::string> in_every_phase(const std::string& kind, std::size_t ranks) {
  std::vector<std::string> settings = {"checkpoint.interval_steps=1", "fault.hang_timeout_seconds=3"};
  for (std::size_t i = 0; i < kPhases.size(); ++i) {
    settings.push_back("fault.inject=" + kind + "@rank=" + std::to_string(i % ranks) +
                       ",step=" + std::to_string(i + 3) + ",phase=" + kPhases[i]);
  }
  return settings;
}

TEST_P(EveryFault, InEveryPhaseOneStepAfterTheOther) {
  const ProgramResult result = job_->train(2, GetParam(), in_every_phase(GetParam(), 2));
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference(GetParam());
  for (const auto& restart : job_->events(GetParam(), "restart")) EXPECT_LE(restart.at("steps_lost"), 1);
}

// Each step's checkpoint waits for the one before.
TEST_P(EveryFault, InEveryPhaseOnASlowDisk) {
  const std::string run = GetParam() + "-slow";
  const ProgramResult result = job_->train_slowly(200, 4, run, in_every_phase(GetParam(), 4));
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference(run);
  EXPECT_EQ(job_->events(run, "fault_injected").size(), kPhases.size());
  EXPECT_EQ(job_->events(run, "checkpoint").size(), 12U);
  for (const auto& restart : job_->events(run, "restart")) EXPECT_LE(restart.at("steps_lost"), 1);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryFault, ::testing::Values("SEGV", "KILL", "ABORT", "STOP", "EXIT", "BITFLIP"),
                         [](const auto& kind) { return kind.param; });

using Damage = void (*)(const fs::path& file);
using DamagedCheckpoint = ComparedJob;

TEST_F(DamagedCheckpoint, InWhateverFileAndWayMeansTheOneBefore) {
  fs::copy(job_->run("reference"), job_->run("run"), fs::copy_options::recursive);
  const fs::path newest = job_->run("run") / "checkpoints/step-0000000012";
  const std::vector<Damage> damages = {[](const fs::path& file) { flip_byte(file, fs::file_size(file) / 2); },
                                       [](const fs::path& file) { truncate_file(file, fs::file_size(file) / 2); },
                                       [](const fs::path& file) { truncate_file(file, 0); },
                                       [](const fs::path& file) { fs::remove(file); }};
  for (const std::string file : {"manifest.textproto", "state-00-of-02.h5", "state-01-of-02.h5"}) {
    for (const Damage damage : damages) {
      damage(newest / file);
      const ProgramResult result = job_->train(2, "run");
      EXPECT_EQ(result.exit_code, 0) << result.all_output();
      EXPECT_THAT(result.all_output(), HasSubstr(file));
      EXPECT_THAT(result.all_output(),
                  HasSubstr("going on from " + newest.parent_path().string() + "/step-0000000008"));
      expect_same_as_reference("run");
    }
  }
}

using WorldSizes = ComparedJob;

std::map<std::string, std::string> texts_in(const fs::path& folder) {
  std::map<std::string, std::string> texts;
  for (const auto& entry : fs::directory_iterator(folder)) texts[entry.path().filename()] = read_text(entry.path());
  return texts;
}

// With validation, samples and checkpoints in between.
TEST(ChangingWorldSizes, LeaveTheSameBitsLossesAndSamples) {
  const Workspace job;
  const std::vector<std::string> settings = {"train.logical_shards=8", "optimizer.schedule=CONSTANT",
                                             "log.sample_interval_steps=3", "log.validation_interval_steps=2",
                                             "checkpoint.interval_steps=2"};
  ASSERT_EQ(job.train(2, "reference", settings).exit_code, 0);
  const std::vector<int> sizes = {8, 4, 2, 1, 4};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::vector<std::string> part = settings;
    part.push_back("fault.inject=segv@rank=0,phase=reduce,step=" + std::to_string(2 * i + 2));
    part.push_back("train.steps=" + std::to_string(i + 1 == sizes.size() ? 12 : 2 * i + 3));
    const ProgramResult result = job.train(sizes[i], "sizes", part);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }
  EXPECT_EQ(job.events("sizes", "fault_injected").size(), sizes.size()) << "each start has a fault of its own";
  EXPECT_EQ(job.digest("sizes"), job.digest("reference"));
  EXPECT_EQ(job.losses("sizes"), job.losses("reference"));
  EXPECT_EQ(texts_in(job.run("reference") / "samples").size(), 4U);
  EXPECT_EQ(texts_in(job.run("sizes") / "samples"), texts_in(job.run("reference") / "samples"));
}

TEST_F(WorldSizes, FourTwoOneFourWithMpirunKilledInBetween) {
  std::vector<std::string> settings = {"checkpoint.interval_steps=1", "fault.hang_timeout_seconds=100"};
  for (const std::string step : {"3", "6", "9"}) settings.push_back("fault.inject=stop@rank=0,step=" + step);
  std::size_t stops = 0;
  for (const int ranks : {4, 2, 1}) {
    BackgroundProgram program(job_->training_command(ranks, "sizes", settings), job_->options());
    ++stops;
    const auto stopped = [&] { return job_->events("sizes", "fault_injected").size() == stops; };
    while (program.running() && !stopped()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    program.send_signal(SIGKILL);
    EXPECT_EQ(job_->finish(program).signal, SIGKILL);
  }
  EXPECT_EQ(job_->train(4, "sizes", settings).exit_code, 0);
  expect_same_as_reference("sizes");
}

class Chaos : public WorldSizes {
 protected:
  static std::vector<std::string> command(const std::string& run, const std::vector<std::string>& options) {
    std::vector<std::string> words = {program_path("kangpt_chaos"), "--directory", job_->run(run).string()};
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    const std::vector<std::string> training = job_->training_command(
        2, run, {"train.steps=400", "checkpoint.interval_steps=20", "fault.hang_timeout_seconds=3"});
    words.insert(words.end(), training.begin(), training.end());
    return words;
  }

  static ProgramOptions options() {
    ProgramOptions options = job_->options();
    for (const char* const version : {"vader", "sm"})  // it has a folder of its own
      options.environment.erase(std::string("OMPI_MCA_btl_") + version + "_backing_directory");
    options.timeout_seconds = 900;
    return options;
  }
};

TEST_F(Chaos, ChangesNothing) {
  BackgroundProgram program(command("chaos", {"--runs", "3", "--faults", "4", "--seed", "11"}), options());
  const pid_t pid = program.pid();
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_FALSE(fs::exists("/dev/shm/kangpt-chaos-" + std::to_string(pid)));
}

// There is no checkpoint but the one that a start makes of what is left in memory. With this seed, most losses come in
// the middle of training.
TEST_F(Chaos, LosesNodesAndGoesOnFromTheCopiesOnOthers) {
  const fs::path report_file = job_->path() / "lost_nodes.json";
  std::vector<std::string> words =
      command("lost_nodes", {"--nodes", "2", "--kind", "node-lost-with-its-memory", "--runs", "2", "--faults", "3",
                             "--seed", "39793", "--json", report_file.string()});
  words.insert(words.end(),
               {"--set", "train.steps=1500", "--set", "checkpoint.interval_steps=0", "--set", "log.interval_steps=1"});
  BackgroundProgram program(words, options());
  const ProgramResult result = job_->finish(program);
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  const auto report = nlohmann::json::parse(read_text(report_file));
  EXPECT_EQ(report.at("faults_by_kind").at("node lost with its memory"), report.at("faults"));
  EXPECT_LE(report.at("most_steps_lost_by_node"), 2) << result.all_output();
  int from_copies = 0;
  for (const std::string run : {"lost_nodes/run-1", "lost_nodes/run-2"}) {
    for (const nlohmann::json& start : job_->events(run, "start")) from_copies += start.at("step") > 0 ? 1 : 0;
  }
  EXPECT_GT(from_copies, 0) << result.all_output();
  EXPECT_TRUE(fs::is_empty(job_->memory()));
}

// finish() looks for what is left of the job that was under way.
TEST_F(Chaos, ThatIsStoppedLeavesNothingAndReportsWhatItHas) {
  BackgroundProgram program(command("stopped", {"--runs", "1000", "--faults", "2"}), options());
  const pid_t pid = program.pid();
  ASSERT_TRUE(program.wait_for_output("run 1 of 1000")) << program.stderr_so_far();
  program.send_signal(SIGTERM);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 75) << result.all_output();
  EXPECT_THAT(result.stdout_text, ::testing::HasSubstr("stopped by a signal"));
  EXPECT_FALSE(fs::exists("/dev/shm/kangpt-chaos-" + std::to_string(pid)));
}

}  // namespace
}  // namespace kangpt::test
