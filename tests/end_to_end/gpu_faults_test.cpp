// As every_fault_test, on doubles of GPUs: every kind of fault in every phase of a step, and chaos.
#include <gmock/gmock.h>

#include <cstdlib>
#include <sstream>

#include "tests/end_to_end/gpu_on_doubles.hpp"

namespace kangpt::test {
namespace {

const std::vector<std::string> kPhases = {"data",   "forward", "backward", "reduce",
                                          "update", "gather",  "snapshot", "checkpoint"};

class EveryFaultOnDoubles : public JobOnDoubles, public ::testing::WithParamInterface<std::string> {};

// On the ranks in turn.
std::vector<std::string> in_every_phase(const std::string& kind) {
  std::vector<std::string> settings = {"checkpoint.interval_steps=1", "fault.hang_timeout_seconds=3"};
  for (std::size_t i = 0; i < kPhases.size(); ++i) {
    settings.push_back("fault.inject=" + kind + "@rank=" + std::to_string(i % 4) + ",step=" + std::to_string(i + 3) +
                       ",phase=" + kPhases[i]);
  }
  return settings;
}

TEST_P(EveryFaultOnDoubles, InEveryPhaseOneStepAfterTheOther) {
  const ProgramResult result = train(4, GetParam(), in_every_phase(GetParam()));
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference(GetParam());
  EXPECT_EQ(job_->events(GetParam(), "fault_injected").size(), kPhases.size());
  for (const auto& restart : job_->events(GetParam(), "restart")) EXPECT_LE(restart.at("steps_lost"), 1);
}

// A worker that begins while its start is still to be written must not write over it, though no collective of a GPU is
// held back by its agent.
TEST_P(EveryFaultOnDoubles, InEveryPhaseOnASlowDisk) {
  const std::string run = GetParam() + "-slow";
  ProgramOptions slow = job_->slow_disk_options(200);
  slow.environment["LD_LIBRARY_PATH"] = options().environment.at("LD_LIBRARY_PATH");
  BackgroundProgram program(command(4, run, in_every_phase(GetParam())), slow);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  expect_same_as_reference(run);
  EXPECT_EQ(job_->events(run, "checkpoint").size(), 12U);
  EXPECT_EQ(job_->call("kangpt_checkpoint", {"verify", job_->run(run).string()}).exit_code, 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryFaultOnDoubles,
                         ::testing::Values("SEGV", "KILL", "ABORT", "STOP", "EXIT", "BITFLIP"),
                         [](const auto& kind) { return kind.param; });

// The one command for machines with GPUs, on doubles of two.
TEST_F(JobOnDoubles, TheMeasurementOfGpusRunsToItsEnd) {
  const fs::path built = job_->path() / "measured";
  fs::create_directories(built / "tests");
  fs::create_symlink(job_->path() / "bin", built / "bin");
  fs::create_symlink(KANGPT_WORKPLACE_ON_DOUBLES, built / "tests/gpu_workplace_test");
  ProgramOptions the = options({{"KANGPT_DOUBLE_GPUS", "2"}});
  the.timeout_seconds = 900;
  const fs::path results = job_->path() / "results.jsonl";
  const ProgramResult result =
      run_program({"python3", "-B", std::string(std::getenv("KANGPT_SOURCE")) + "/tests/gpu/measure.py", "--build",
                   built.string(), "--output", results.string(), "--quick"},
                  the);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  std::map<std::string, int> counts;
  std::istringstream lines(read_text(results));
  for (std::string line; std::getline(lines, line);) ++counts[nlohmann::json::parse(line).at("what")];
  EXPECT_EQ(counts.at("workplace"), 2);
  EXPECT_EQ(counts.at("digest"), 3);
  EXPECT_EQ(counts.at("recovery"), 2);
  EXPECT_EQ(counts.at("speed"), 2);
}

class ChaosOnDoubles : public JobOnDoubles {};

TEST_F(ChaosOnDoubles, ChangesNothing) {
  std::vector<std::string> words = {
      program_path("kangpt_chaos"), "--runs", "3", "--faults", "4", "--seed", "5", "--directory",
      job_->run("chaos").string(),  "--"};
  const std::vector<std::string> training =
      command(2, "chaos", {"train.steps=300", "checkpoint.interval_steps=20", "fault.hang_timeout_seconds=3"});
  words.insert(words.end(), training.begin(), training.end());
  ProgramOptions the = options();
  the.environment.erase("OMPI_MCA_btl_vader_backing_directory");  // it has a folder of its own
  the.timeout_seconds = 900;
  BackgroundProgram program(words, the);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
}

}  // namespace
}  // namespace kangpt::test
