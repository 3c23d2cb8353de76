// What TensorBoard shows of a run, read by a reader of our own and by TensorBoard's.
#include "launcher/record/tensorboard_record.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "launcher/record/run_log.hpp"
#include "tests/launcher/record/event_files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json step_report(std::uint64_t step) {
  return {{"kind", "step"},        {"step", step},          {"loss", 10.0 / static_cast<double>(step)},
          {"tokens", step * 64},   {"step_tokens", 64},     {"skipped", false},
          {"loss_spike", false},   {"batch", step - 1},     {"step_seconds", 0.25},
          {"learning_rate", 1e-3}, {"snapshot_seconds", 0}, {"profile", {{"forward", 0.125}, {"backward", 0.0625}}}};
}

void report_steps(RunLog& log, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t step = first; step <= last; ++step) log.report(step_report(step));
}

void report_validation(RunLog& log, std::uint64_t step, double loss) {
  log.report({{"kind", "validation"}, {"step", step}, {"validation_loss", loss}, {"tokens", 640}, {"seconds", 0.5}});
}

void report_matrix_rate(RunLog& log) {
  log.report({{"kind", "matrix_rate"}, {"flops_per_second", 512e9}});
}

// Workers crash in step 7 and go on behind 5; the start is killed behind step 8, and another one goes on behind 6.
void write_run(const fs::path& run) {
  const RunLogOptions options{.directory = run,
                              .total_steps = 10,
                              .world_size = 2,
                              .validation_bytes_per_token = 4,
                              .tensorboard = true,
                              .settings = {{"optimizer.learning_rate", "0.001"}, {"model.mixer", "CONV"}},
                              .flops_per_token = 1e9};
  {
    RunLog log(options, 0);
    log.event("start", {{"step", 0}});
    report_matrix_rate(log);
    report_steps(log, 1, 6);
    report_validation(log, 4, 3);
    report_validation(log, 6, 99);
    log.event("failure",
              {{"step", 7}, {"rank", 1}, {"phase", "reduce"}, {"cause", "SIGSEGV | 1\nat 2"}, {"exit_code", 70}});
    log.restarted(5);
    report_steps(log, 6, 8);
    report_validation(log, 8, 98);
  }
  RunLog log(options, 6);
  log.event("start", {{"step", 6}});
  report_matrix_rate(log);
  report_steps(log, 7, 10);
  report_validation(log, 10, 2);
  log.report({{"kind", "sample"}, {"step", 10}, {"text", "A <|x|> and\n# more"}});
  log.event("end", {{"step", 10}, {"exit_code", 0}});
}

std::map<std::uint64_t, float> curve(std::uint64_t last, const std::function<double(std::uint64_t)>& value) {
  std::map<std::uint64_t, float> points;
  for (std::uint64_t step = 1; step <= last; ++step) points[step] = static_cast<float>(value(step));
  return points;
}

constexpr const char* kFailureLines = " | 7 | 1 | reduce | SIGSEGV \\| 1 at 2 |\n|";
constexpr const char* kRestartLine = " | 5 | | | all workers go on behind this step; steps lost: 1 |\n";

TEST(TensorboardRecordTest, ARunWithACrashIsWhole) {
  const test::TemporaryDirectory folder;
  write_run(folder.path());
  const Content training = read_content(folder / "tensorboard");
  EXPECT_EQ(training.curves.at("loss"), curve(10, [](std::uint64_t step) { return 10.0 / static_cast<double>(step); }));
  EXPECT_EQ(training.curves.at("seconds/forward"), curve(10, [](std::uint64_t) { return 0.125; }));
  EXPECT_EQ(training.curves.at("tokens_per_second"), curve(10, [](std::uint64_t) { return 256; }));
  EXPECT_EQ(training.curves.at("model_flops_per_second"), curve(10, [](std::uint64_t) { return 256e9; }));
  EXPECT_EQ(training.curves.at("mfu"), curve(10, [](std::uint64_t) { return 0.25; }));
  EXPECT_EQ(training.curves.at("validation_loss"), (std::map<std::uint64_t, float>{{4, 3.0F}, {10, 2.0F}}));
  EXPECT_EQ(training.texts.at("sample").at(10), as_markdown("A <|x|> and\n# more"));
  const auto& failures = training.texts.at("failures");
  ASSERT_FALSE(failures.empty());
  EXPECT_THAT(failures.rbegin()->second, AllOf(HasSubstr(kFailureLines), HasSubstr(kRestartLine)));
  EXPECT_EQ(training.hyperparameters.size(), 2U);
  const Content validation = read_content(folder / "tensorboard/validation");
  EXPECT_EQ(validation.curves.at("loss"), training.curves.at("validation_loss"))
      << "in one chart with that of training";
  EXPECT_EQ(validation.curves.at("bits_per_byte").size(), 2U);
}

// Without a validation there is no run of that name, and one that did not end well is not closed.
TEST(TensorboardRecordTest, WhatARunDoesNotHaveIsNotThere) {
  const test::TemporaryDirectory folder;
  {
    RunLog log({.directory = folder.path(), .tensorboard = true}, 0);
    report_steps(log, 1, 2);
    log.event("end", {{"step", 2}, {"exit_code", 75}});
  }
  const Content content = read_content(folder / "tensorboard");
  EXPECT_EQ(content.hyperparameters.count("_hparams_/session_end_info"), 0U);
  EXPECT_TRUE(content.texts.empty());
  EXPECT_FALSE(fs::exists(folder / "tensorboard/validation"));
}

// The first in the path, or the system's own, that has what TensorBoard's reader needs; the set-up unpacks the reader.
std::string python_with_tensorboard(const test::ProgramOptions& options) {
  for (const std::string python : {"python3", "/usr/bin/python3"}) {
    const std::string import = "from tensorboard.backend.event_processing import plugin_event_multiplexer";
    if (test::run_program({python, "-c", import}, options).exit_code == 0) return python;
  }
  return "";
}

// With what the set-up unpacked, if it did, else with what Python has.
test::ProgramOptions with_tensorboard() {
  test::ProgramOptions options{.environment = {{"PYTHONDONTWRITEBYTECODE", "1"}}};
  const char* const cache = std::getenv("KANGPT_CACHE");
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(cache == nullptr ? "" : cache, missing)) {
    if (entry.path().filename().string().starts_with("tensorboard-"))
      options.environment["PYTHONPATH"] = entry.path().string();
  }
  return options;
}

TEST(TensorboardRecordTest, TensorboardItselfReadsIt) {
  const test::ProgramOptions options = with_tensorboard();
  const std::string python = python_with_tensorboard(options);
  if (python.empty()) GTEST_SKIP() << "python3 has no tensorboard with numpy, protobuf and absl (see cmake/setup.sh)";
  const test::TemporaryDirectory folder;
  write_run(folder.path());
  const std::string script = (test::source_directory() / "tests/launcher/record/read_event_files.py").string();
  const test::ProgramResult result = test::run_program({python, script, (folder / "tensorboard").string()}, options);
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  const json runs = json::parse(result.stdout_text);
  ASSERT_EQ(runs.size(), 2U) << runs;
  const Content training = read_content(folder / "tensorboard");
  const auto expect_curves = [](const json& found, const Curves& curves) {
    EXPECT_EQ(found.size(), curves.size()) << found;
    for (const auto& [tag, points] : curves) {
      EXPECT_EQ(found.at(tag).size(), points.size()) << tag;
      for (const auto& [step, value] : points) EXPECT_FLOAT_EQ(found.at(tag).at(std::to_string(step)), value) << tag;
    }
  };
  expect_curves(runs.at(".").at("scalars"), training.curves);
  expect_curves(runs.at("validation").at("scalars"), read_curves(folder / "tensorboard/validation"));
  EXPECT_EQ(runs.at(".").at("texts").at("sample").at("10"), training.texts.at("sample").at(10));
  EXPECT_THAT(runs.at(".").at("texts").at("failures").dump(), HasSubstr("SIGSEGV"));
  EXPECT_EQ(runs.at(".").at("settings"), json({{"optimizer.learning_rate", 0.001}, {"model.mixer", "CONV"}}));
  EXPECT_EQ(runs.at(".").at("end"), 1);
}

}  // namespace
}  // namespace kangpt::launcher
