// What a run writes about itself, on disks that are full for a while and after deaths in the middle of a line.
#include "launcher/record/run_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launcher/record/append_file.hpp"
#include "launcher/record/earlier_run.hpp"
#include "launcher/record/json_lines.hpp"
#include "launcher/record/run_course.hpp"
#include "launcher/record/run_summary.hpp"
#include "tests/support/files.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> lines_of(const fs::path& file) {
  std::vector<std::string> lines;
  std::istringstream text(test::read_text(file));
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

// Throws, and so fails the test, where a line is no JSON or the last one is cut off.
std::vector<std::uint64_t> steps_in(const fs::path& file) {
  EXPECT_TRUE(test::read_text(file).ends_with('\n')) << file;
  std::vector<std::uint64_t> steps;
  for (const std::string& line : lines_of(file)) steps.push_back(json::parse(line).at("step"));
  return steps;
}

std::vector<std::uint64_t> count_to(std::uint64_t last) {
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t number = 1; number <= last; ++number) numbers.push_back(number);
  return numbers;
}

// A disk of a test that is full and has room in turns. Skips the test where the user may not mount one.
class FullDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::mount_small_disk(disk(), "1m")) GTEST_SKIP() << "no right to mount a tmpfs here";
  }
  void TearDown() override { test::unmount(disk()); }
  fs::path disk() const { return folder_ / "disk"; }
  void fill() const { test::fill_disk(disk() / "ballast"); }
  void make_room() const { fs::remove(disk() / "ballast"); }

  const test::TemporaryDirectory folder_;
};

TEST_F(FullDisk, WhatCouldNotBeWrittenIsWrittenOnceThereIsRoom) {
  std::vector<std::string> said;
  const fs::path path = disk() / "lines";
  AppendFile file(path, [&](const std::string& message) { said.push_back(message); });
  const std::string text(99, '-');
  const auto add = [&](int number) {
    file.add(std::to_string(number) + text + "\n");
    return file.write();
  };
  int number = 0;
  for (; number < 10; ++number) EXPECT_TRUE(add(number));
  fill();
  while (add(number)) ++number;  // what is left of the last page
  for (int more = 0; more < 100; ++more) {
    EXPECT_FALSE(add(++number));
    EXPECT_TRUE(test::read_text(path).ends_with("-\n")) << "torn";
  }
  EXPECT_THAT(said, ElementsAre(AllOf(HasSubstr("No space left"), HasSubstr("training goes on"))));
  make_room();
  EXPECT_TRUE(add(++number));
  const std::vector<std::string> lines = lines_of(path);
  ASSERT_THAT(lines, SizeIs(number + 1));
  for (int i = 0; i <= number; ++i) EXPECT_EQ(lines[static_cast<std::size_t>(i)], std::to_string(i) + text);
  ASSERT_THAT(said, SizeIs(2));
  EXPECT_THAT(said[1], HasSubstr("written again; nothing is missing"));
}

TEST_F(FullDisk, MoreThanMemoryIsKeptForIsCountedAndSaid) {
  std::vector<std::string> said;
  {
    AppendFile file(disk() / "lines", [&](const std::string& message) { said.push_back(message); });
    fill();
    const std::string record(AppendFile::kMostWaitingBytes / 4, 'r');
    for (int i = 0; i < 7; ++i) {
      file.add(record);
      file.write();
    }
    test::resize_disk(disk(), "16m");
    EXPECT_TRUE(file.write());
    EXPECT_EQ(fs::file_size(disk() / "lines"), AppendFile::kMostWaitingBytes);
    EXPECT_THAT(said.back(), HasSubstr("3 records are missing"));
    test::resize_disk(disk(), "6m");
    fill();
    file.add(record);
    file.write();
  }
  EXPECT_THAT(said.back(), HasSubstr("1 record is missing in " + (disk() / "lines").string()));
}

TEST(AppendFileTest, OneThatWasDeletedComesBack) {
  const test::TemporaryDirectory folder;
  AppendFile file(folder / "lines");
  file.add("first\n");
  EXPECT_TRUE(file.write());
  fs::remove(folder / "lines");
  file.add("second\n");
  EXPECT_TRUE(file.write());
  EXPECT_EQ(test::read_text(folder / "lines"), "second\n");
}

json step_report(std::uint64_t step) {
  return {{"kind", "step"},       {"step", step},          {"loss", 2.5},          {"tokens", step * 64},
          {"step_tokens", 64},    {"skipped", false},      {"loss_spike", false},  {"batch", step - 1},
          {"step_seconds", 0.25}, {"learning_rate", 1e-3}, {"snapshot_seconds", 0}};
}

// Among the lines that wait are some whose steps are computed again.
TEST_F(FullDisk, EachStepStandsOnceThoughWorkersWereRestartedMeanwhile) {
  RunLog log({.directory = disk() / "run", .total_steps = 100}, 0);
  for (std::uint64_t step = 1; step <= 20; ++step) log.report(step_report(step));
  fill();
  for (std::uint64_t step = 21; step <= 60; ++step) log.report(step_report(step));
  log.restarted(50);
  for (std::uint64_t step = 51; step <= 70; ++step) log.report(step_report(step));
  log.restarted(15);
  for (std::uint64_t step = 16; step <= 30; ++step) log.report(step_report(step));
  make_room();
  for (std::uint64_t step = 31; step <= 100; ++step) log.report(step_report(step));
  log.finish();
  EXPECT_EQ(steps_in(disk() / "run/metrics.jsonl"), count_to(100));
  EXPECT_THAT(lines_of(disk() / "run/events.jsonl"), SizeIs(2));
  EXPECT_EQ(read_history(disk() / "run").lost_steps, 10U + 55U);
}

TEST_F(FullDisk, ASampleThatDoesNotFitLeavesNothing) {
  RunLog log({.directory = disk() / "run"}, 0);
  fill();
  log.report({{"kind", "sample"}, {"step", 1}, {"text", std::string(20'000, 'a')}});
  EXPECT_TRUE(fs::is_empty(disk() / "run/samples"));
  make_room();
  log.report({{"kind", "sample"}, {"step", 2}, {"text", "b"}});
  EXPECT_EQ(test::read_text(disk() / "run/samples/step-0000000002.txt"), "b\n");
}

TEST(RunLogTest, TornLinesAreGoneAfterTheNextStart) {
  const test::TemporaryDirectory folder;
  const std::string whole = R"({"event":"start","step":0,"world_size":2})";
  test::write_text(folder / "events.jsonl", whole + "\n" + R"({"event":"checkpo)");
  test::write_text(folder / "metrics.jsonl",
                   "{\"step\":1}\n{\"step\":2,\"lo{\"step\":3}\n\n{\"step\":4}\n{\"step\":5}\n{\"step\":6");
  RunLog log({.directory = folder.path()}, 4);
  log.event("end", {{"step", 4}});
  EXPECT_EQ(steps_in(folder / "metrics.jsonl"), (std::vector<std::uint64_t>{1, 4}));
  const std::vector<std::string> events = lines_of(folder / "events.jsonl");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0], whole);
  EXPECT_EQ(json::parse(events[1])["event"], "end");
}

TEST(JsonLines, AWholeLineWithoutItsEndIsKept) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "lines", "{\"a\":1}\n{\"a\":2}");
  EXPECT_EQ(keep_lines(folder / "lines", [](const json&) { return true; }), 0U);
  EXPECT_EQ(test::read_text(folder / "lines"), "{\"a\":1}\n{\"a\":2}\n");
  EXPECT_EQ(keep_lines(folder / "missing", [](const json&) { return true; }), 0U);
  EXPECT_FALSE(fs::exists(folder / "missing"));
}

// Of any length, in pieces or not, with an end or not.
TEST(JsonLines, AreReadOneAtATime) {
  const test::TemporaryDirectory folder;
  const std::string long_text(700'000, 'x'), too_long(kLongestLineBytes, 'x');
  test::write_text(folder / "a", R"({"a":1})"
                                 "\n\n[2]\n{\"a\":\"" +
                                     long_text + "\"}\n{\"a\":\"" + too_long + "\"}\n{\"b\":3}\n" + R"({"a":4})");
  std::vector<std::string> seen;
  const std::uint64_t passed_over =
      for_each_object(folder / "a", [&](const json& value) { seen.push_back(value.at("a").dump()); });
  EXPECT_THAT(seen, ElementsAre("1", '"' + long_text + '"', "4"));
  EXPECT_EQ(passed_over, 4U) << "an empty line, a list, one that is too long, one without the field";
  EXPECT_EQ(for_each_object(folder / "missing", [](const json& /*value*/) { FAIL(); }), 0U);
}

TEST(MetricsTotalsTest, MfuIsThatOfTheTimeOfWhichItIsKnown) {
  const auto line = [](int tokens) {
    return json{{"step", 1}, {"loss", 2}, {"tokens", tokens}, {"tokens_per_second", 100}};
  };
  json half = line(300), fifth = line(400);
  half["mfu"] = 0.5;
  fifth["mfu"] = 0.2;
  MetricsTotals totals;
  totals.add(line(100));  // of an earlier version
  EXPECT_EQ(totals.mfu(), 0);
  totals.add(half);
  totals.add(fifth);
  EXPECT_DOUBLE_EQ(totals.mfu(), (2 * 0.5 + 0.2) / 3);
  EXPECT_DOUBLE_EQ(totals.seconds, 4);
}

TEST(RunHistory, BeginsWithTheLastNewRunAndPassesOverWhatMakesNoSense) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "events.jsonl",
                   R"({"event":"start","world_size":8,"version":"0"}
{"event":"restart","steps_lost":99}
{"event":"start","new_run":true,"world_size":2,"version":"1","host":"a"}
{"event":"restart","steps_lost":3}
nonsense
{"event":7}
{"event":"restart","steps_lost":"many"}
{"event":"fault_injected","faults":["KILL"]}
{"event":"start","new_run":false,"world_size":2,"steps_lost":4}
{"event":"start","new_run":false,"world_size":4,"version":"2","host":"b","validation_data":"beef"}
)");
  const RunHistory history = read_history(folder.path());
  EXPECT_EQ(history.starts, 3U);
  EXPECT_EQ(history.restarts, 2U);
  EXPECT_EQ(history.lost_steps, 7U);
  EXPECT_THAT(history.world_sizes, ElementsAre(2, 4));
  EXPECT_EQ(history.version + history.host + history.validation_data, "2bbeef");
  EXPECT_THAT(history.fired_faults, ElementsAre("KILL"));
}

TEST(RunCourseTest, IsThatOfAllLoggedStepsSinceTheRunBegan) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(read_course(folder.path()).losses, IsEmpty());
  test::write_text(folder / "metrics.jsonl", R"({"step":5,"loss":4.5,"tokens_per_second":10}
{"step":5,"validation_loss":1}
{"step":10,"loss":2.5,"tokens_per_second":30}
nonsense
{"step":15,"loss":null,"tokens_per_second":20}
{"step":20,"loss":3.5,"tokens_per_second":40}
)");
  test::write_text(folder / "events.jsonl", R"({"event":"recovered","seconds":100}
{"event":"start","new_run":true}
{"event":"recovered","seconds":1.5}
{"event":"start","new_run":false}
{"event":"recovered","seconds":2}
)");
  const RunCourse course = read_course(folder.path());
  EXPECT_THAT(course.losses, ElementsAre(4.5, 2.5, 3.5));
  EXPECT_EQ(course.best_step, 10U);
  EXPECT_EQ(course.best_loss, 2.5);
  EXPECT_EQ(course.last_tokens_per_second, 40);
  EXPECT_EQ(course.recovery_seconds, 3.5);
}

TEST(EarlierRun, IsSetAsideUnderOneNumberThatIsFree) {
  const test::TemporaryDirectory folder;
  const auto set_aside = [&](EarlierCheckpoints checkpoints) {
    return set_aside_earlier_run(folder.path(), checkpoints);
  };
  test::write_text(folder / "config.textproto", "1");
  test::write_text(folder / "tensorboard/events", "");
  fs::create_directories(folder / "samples");
  EXPECT_THAT(set_aside(EarlierCheckpoints::kSetAside), IsEmpty()) << "nothing was measured";
  test::write_text(folder / "metrics.jsonl", "1");
  test::write_text(folder / "checkpoints/step-0000000001/manifest.textproto", "1");
  EXPECT_THAT(set_aside(EarlierCheckpoints::kLeave),
              ElementsAre("metrics-before-1.jsonl", "tensorboard-before-1", "config-before-1.textproto"));
  EXPECT_THAT(set_aside(EarlierCheckpoints::kLeave), IsEmpty());
  EXPECT_THAT(set_aside(EarlierCheckpoints::kSetAside), ElementsAre("checkpoints-before-2"));
  test::write_text(folder / "metrics.jsonl", "2");
  test::write_text(folder / "samples/step-0000000001.txt", "2");
  test::write_text(folder / "crash-rank-3.txt", "2");
  EXPECT_THAT(set_aside(EarlierCheckpoints::kSetAside),
              ElementsAre("metrics-before-3.jsonl", "samples-before-3", "crash-rank-3-before-3.txt"));
  EXPECT_THAT(set_aside(EarlierCheckpoints::kSetAside), IsEmpty());
  EXPECT_EQ(test::read_text(folder / "metrics-before-1.jsonl"), "1");
  EXPECT_EQ(test::read_text(folder / "metrics-before-3.jsonl"), "2");
}

}  // namespace
}  // namespace kangpt::launcher
