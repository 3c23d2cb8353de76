// The wall clock of a machine may be set at any time; nothing that a job decides may rest on it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;
using ::testing::SizeIs;

constexpr double kSecondsADay = 86'400;
constexpr double kJumpDays = 30;

ProgramResult train_with_jumping_clock(const Workspace& job, const std::vector<std::string>& settings) {
  ProgramOptions options = job.options();
  options.environment["LD_PRELOAD"] = KANGPT_JUMPING_CLOCK;
  options.environment["ASAN_OPTIONS"] = "verify_asan_link_order=0";
  options.environment["KANGPT_CLOCK_JUMP"] = std::to_string(static_cast<long>(kJumpDays * kSecondsADay));
  BackgroundProgram program(job.training_command(2, "jumping", settings), options);
  return job.finish(program);
}

// A crash, a hang, validation, checkpoints and a second start, while the time jumps 60 days to and fro.
TEST(ClockJump, DecidesNothing) {
  const Workspace job(Corpus::kTokens);
  ASSERT_EQ(job.train(2, "reference").exit_code, 0);
  ASSERT_EQ(job.train(2, "reference", {"train.steps=16"}).exit_code, 0);
  const ProgramResult first = train_with_jumping_clock(
      job, {"fault.inject=segv@rank=1,step=3", "fault.inject=stop@rank=0,step=6", "fault.hang_timeout_seconds=2"});
  ASSERT_EQ(first.exit_code, 0) << first.all_output();
  const ProgramResult second = train_with_jumping_clock(job, {"train.steps=16"});
  ASSERT_EQ(second.exit_code, 0) << second.all_output();

  EXPECT_EQ(job.digest("jumping"), job.digest("reference"));
  EXPECT_EQ(job.losses("jumping"), job.losses("reference"));
  EXPECT_THAT(job.events("jumping", "restart"), SizeIs(2)) << "one for the crash, one for the hang";
  std::vector<double> times;
  std::ifstream metrics(job.run("jumping") / "metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const nlohmann::json step = nlohmann::json::parse(line);
    if (!step.contains("time")) continue;  // a line of validation
    times.push_back(step.at("time"));
    EXPECT_THAT(step.at("step_seconds").get<double>(), AllOf(Ge(0), Le(kTrainingTimeoutSeconds))) << line;
  }
  for (const auto& event : job.events("jumping", "checkpoint")) times.push_back(event.at("time"));
  const auto [earliest, latest] = std::minmax_element(times.begin(), times.end());
  EXPECT_GE(*latest - *earliest, 2 * kJumpDays * kSecondsADay - kTrainingTimeoutSeconds) << "the clock did not jump";
}

}  // namespace
}  // namespace kangpt::test
