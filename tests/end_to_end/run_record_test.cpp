// What a run directory says about its run: whole over all starts, never written over, never changed in silence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <numbers>
#include <sstream>

#include "tests/end_to_end/shared_workspace.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class RunRecord : public SharedWorkspace<Corpus::kTokens> {
 protected:
  // Runs may be harmed: they are copies of one that was trained once, 12 steps on one rank.
  static void SetUpTestSuite() {
    SharedWorkspace::SetUpTestSuite();
    const ProgramResult result = job_->train(1, "base", {"log.tensorboard=true"});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }

  static void copy_base(const std::string& name) {
    fs::copy(job_->run("base"), job_->run(name), fs::copy_options::recursive);
  }
  // kangpt_dist without mpirun, which is quicker.
  static ProgramResult start(const std::string& name, const std::vector<std::string>& settings = {}) {
    return job_->call("kangpt_dist", training_arguments(name, settings));
  }
  static json summary(const std::string& name) { return json::parse(read_text(job_->run(name) / "summary.json")); }
  static std::string file(const std::string& name) { return read_text(job_->run("") / name); }
};

// Every file but the lock, which names the process.
std::map<std::string, std::string> content_of(const fs::path& run) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    const bool counts = entry.is_regular_file() && entry.path().filename() != "lock";
    if (counts) content[fs::relative(entry.path(), run).string()] = read_text(entry.path());
  }
  return content;
}

std::vector<json> metrics_of(const fs::path& run) {
  std::vector<json> lines;
  std::istringstream text(read_text(run / "metrics.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
  return lines;
}

TEST_F(RunRecord, AFinishedRunThatIsStartedAgainIsLeftAsItIs) {
  copy_base("finished");
  const auto before = content_of(job_->run("finished"));
  for (const std::string setting : {"train.steps=12", "train.steps=4", "train.steps=0"}) {
    const ProgramResult result = start("finished", {setting, "train.epochs=0.01", "log.tensorboard=true"});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.all_output(), AllOf(HasSubstr("nothing to do, already at step 12"), HasSubstr("train.steps"),
                                           Not(HasSubstr("done:"))));
    EXPECT_EQ(content_of(job_->run("finished")), before) << setting;
  }
}

// What the event files hold beside that is tested with their writer.
TEST_F(RunRecord, TensorboardHasTheSettingsAndAValidationOfItsOwn) {
  std::string events;
  for (const auto& [name, content] : content_of(job_->run("base"))) {
    if (name.starts_with("tensorboard/events")) events += content;
  }
  EXPECT_THAT(events, AllOf(HasSubstr("optimizer.learning_rate"), HasSubstr("model_flops_per_second"),
                            HasSubstr("_hparams_/session_end_info")));
  EXPECT_FALSE(fs::is_empty(job_->run("base") / "tensorboard/validation"));
}

// Killed between the last checkpoint and the end.
TEST_F(RunRecord, ASummaryThatAKilledJobDidNotWriteIsWrittenByTheNextStart) {
  copy_base("killed");
  const auto before = content_of(job_->run("killed"));
  fs::remove(job_->run("killed") / "summary.json");
  const ProgramResult result = job_->train(2, "killed");
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(content_of(job_->run("killed")), before);
}

TEST_F(RunRecord, TheSummaryCoversAllStarts) {
  const std::vector<std::string> to_the_kill = {"fault.inject=segv@rank=0,step=3", "fault.inject=stop@rank=1,step=7",
                                                "fault.hang_timeout_seconds=100"};
  BackgroundProgram program(job_->training_command(2, "starts", to_the_kill), job_->options());
  const auto have = [&](const std::string& event) { return job_->events("starts", event).size(); };
  while (program.running() && (have("fault_injected") < 2 || have("checkpoint") < 1)) ::usleep(10'000);
  program.send_signal(SIGKILL);  // 6 steps are logged, 4 of them are on disk
  job_->finish(program);
  for (const fs::directory_entry& left : fs::directory_iterator(job_->memory())) fs::remove(left);  // a lost node
  ASSERT_EQ(job_->train(4, "starts").exit_code, 0);
  ASSERT_EQ(job_->train(1, "starts", {"train.steps=20"}).exit_code, 0);
  const json result = summary("starts");
  EXPECT_EQ(result["steps"], 20);
  EXPECT_EQ(result["digest"], job_->digest("starts"));
  EXPECT_EQ(result["starts"], 3);
  EXPECT_EQ(result["restarts"], 1);
  const std::uint64_t lost_to_the_crash = job_->events("starts", "restart").at(0).at("steps_lost");
  EXPECT_EQ(result["lost_steps"], 2 + lost_to_the_crash);
  EXPECT_EQ(result["world_sizes"], json({2, 4, 1}));
  EXPECT_EQ(result["world_size"], 1);
  EXPECT_EQ(result["tokens"], 20 * 8 * 16);
  EXPECT_EQ(result["host"].get<std::string>().empty(), false);
  EXPECT_THAT(job_->call("kangpt_dist", {"--version"}).stdout_text, HasSubstr(result["version"].get<std::string>()));
  double best = 1e9, seconds = 0, peak_seconds = 0;
  std::uint64_t best_step = 0;
  for (const json& line : metrics_of(job_->run("starts"))) {
    if (line.contains("loss")) {
      const double taken = line["step_seconds"].get<double>() + line["snapshot_seconds"].get<double>();
      EXPECT_GT(line.at("mfu"), 0);
      seconds += taken;
      peak_seconds += taken * line["mfu"].get<double>();
    }
    if (!line.contains("validation_loss") || line["validation_loss"] >= best) continue;
    best = line["validation_loss"];
    best_step = line["step"];
  }
  EXPECT_EQ(result["best_validation_loss"], best);
  EXPECT_EQ(result["best_step"], best_step);
  EXPECT_NEAR(result["seconds"].get<double>(), seconds, 1e-6 * seconds) << "each step is logged, so its time is known";
  EXPECT_NEAR(result["tokens_per_second"].get<double>() * seconds, 20 * 8 * 16, 0.1);
  EXPECT_NEAR(result["mfu"].get<double>() * seconds, peak_seconds, 1e-6 * peak_seconds);
}

// Whatever the end was, from the same files that kangpt_report reads.
TEST_F(RunRecord, EachEndLeavesAReport) {
  const ProgramResult crashed =
      job_->train(2, "crashed", {"fault.inject=segv@rank=1,step=6,phase=reduce", "log.profile=true"});
  ASSERT_EQ(crashed.exit_code, 0) << crashed.all_output();
  const std::string page = file("crashed/report.html");
  EXPECT_THAT(page, AllOf(HasSubstr(">done<"), HasSubstr("<title>step 6: rank 1 in reduce: the worker died of SIGSEGV"),
                          HasSubstr(job_->digest("crashed")), HasSubstr("class=\"checkpoint\""),
                          HasSubstr("log.profile"), HasSubstr(">forward<")));
  const ProgramResult again = job_->call("kangpt_report", {"crashed", "base", "--output", "both.html"});
  EXPECT_EQ(again.exit_code, 0) << again.all_output();
  EXPECT_THAT(file("both.html"), AllOf(HasSubstr("2 runs compared"), HasSubstr("fault.inject")));
  const ProgramResult failed = start("failed", {"fault.max_restarts=0", "fault.inject=exit@rank=0,step=3"});
  EXPECT_EQ(failed.exit_code, 70) << failed.all_output();
  EXPECT_THAT(file("failed/report.html"), AllOf(HasSubstr(">failed<"), HasSubstr("the start ended")));
}

// The example in tools/python, which reads summary.json.
TEST_F(RunRecord, ASearchFindsTheBestOfItsRuns) {
  const ProgramResult result =
      run_program({"python3", "-B", (source_directory() / "tools/python/search.py").string(), "--runs", "search",
                   "--trials", "2", "--choose", "optimizer.learning_rate=2e-3..2e-2", "--", program_path("kangpt_dist"),
                   "--config", "tiny.textproto"},
                  job_->options());
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  const double first = summary("search/000")["best_validation_loss"],
               second = summary("search/001")["best_validation_loss"];
  const std::string best = first < second ? "search/000" : "search/001",
                    other = first < second ? "search/001" : "search/000";
  EXPECT_LT(result.stdout_text.rfind(best + "  optimizer.learning_rate="),
            result.stdout_text.rfind(other + "  optimizer."));
}

TEST_F(RunRecord, AReportThatCanNotBeWrittenCostsTheRunNothing) {
  fs::create_directories(job_->run("unreported") / "report.html" / "in the way");
  const ProgramResult result = start("unreported");
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("report.html was not written"));
  EXPECT_EQ(summary("unreported")["digest"], summary("base")["digest"]);
}

TEST_F(RunRecord, AnEarlierRunIsKeptBesideTheNewOne) {
  const auto before = content_of(job_->run("base"));
  for (const std::string why : {"purged", "never"}) {
    copy_base(why);
    if (why == "purged") fs::remove_all(job_->run(why) / "checkpoints");
    const ProgramResult result =
        start(why, {"train.steps=3", why == "never" ? "checkpoint.resume=NEVER" : "checkpoint.resume=AUTO"});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.all_output(), HasSubstr("metrics-before-1.jsonl, summary-before-1.json"));
    EXPECT_EQ(file(why + "/metrics-before-1.jsonl"), before.at("metrics.jsonl"));
    EXPECT_EQ(file(why + "/summary-before-1.json"), before.at("summary.json"));
    EXPECT_EQ(file(why + "/config-before-1.textproto"), before.at("config.textproto"));
    EXPECT_EQ(file(why + "/report-before-1.html"), before.at("report.html"));
    EXPECT_EQ(fs::exists(job_->run(why) / "checkpoints-before-1/step-0000000012"), why == "never");
    EXPECT_THAT(file(why + "/events.jsonl"), ::testing::StartsWith(before.at("events.jsonl")));
    EXPECT_EQ(job_->events(why, "start").at(1).at("set_aside").at(0), "metrics-before-1.jsonl");
    EXPECT_EQ(job_->losses(why).size(), 3U);
    EXPECT_EQ(summary(why)["starts"], why == "never" ? 1 : 2);
  }
}

TEST_F(RunRecord, ChangedSettingsAreSaidWithBothValues) {
  struct Change {
    std::string setting, field, before, now;
  };
  const std::vector<Change> changes = {
      {"optimizer.learning_rate=0.02", "optimizer.learning_rate", "0.01", "0.02"},
      {"train.reduction=FAST", "train.reduction", "TREE", "FAST"},
      {"model.initial_weights=none.safetensors", "model.initial_weights", "\"\"", "\"none.safetensors\""}};
  copy_base("changed");
  std::vector<std::string> settings = {"train.steps=14"};
  for (const Change& change : changes) settings.push_back(change.setting);
  const ProgramResult result = start("changed", settings);
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  const json event = job_->events("changed", "start").at(1).at("changed_settings");
  for (const Change& change : changes) {
    EXPECT_THAT(result.all_output(), HasSubstr(change.field + " changes from " + change.before + " to " + change.now));
    const json expected = {{"field", change.field}, {"before", change.before}, {"now", change.now}};
    EXPECT_NE(std::find(event.begin(), event.end(), expected), event.end()) << change.field << " in " << event;
  }
  // More steps under COSINE: its end was reached.
  EXPECT_THAT(result.all_output(), HasSubstr("train.steps changes from 12 to 14"));
  EXPECT_THAT(result.all_output(), HasSubstr("that of step 12, the last, was 0.001"));
  const ProgramResult again = start("changed", [&] {
    settings[0] = "train.steps=15";
    return settings;
  }());
  EXPECT_EQ(again.exit_code, 0) << again.all_output();
  EXPECT_THAT(again.all_output(), AllOf(HasSubstr("train.steps changes from 14 to 15"), Not(HasSubstr("reduction"))));
  EXPECT_THAT(job_->events("base", "start").at(0).at("changed_settings"), IsEmpty());
}

TEST_F(RunRecord, OtherSamplesMakeAnotherRunUnlessOneInsists) {
  copy_base("samples");
  for (const std::string setting : {"data.mode=STORY", "data.shuffle=NONE"}) {
    const ProgramResult result = start("samples", {"train.steps=13", setting});
    EXPECT_EQ(result.exit_code, 78) << result.all_output();
    EXPECT_THAT(result.all_output(), AllOf(HasSubstr(setting.substr(0, setting.find('='))), HasSubstr("up to step 12"),
                                           HasSubstr("--set data.accept_changed=true")));
    const ProgramResult plan =
        job_->call("kangpt_dist", {"--config", "tiny.textproto", "--plan", "--set", "run.directory=samples", "--set",
                                   "train.steps=13", "--set", setting});
    EXPECT_EQ(plan.exit_code, 78) << plan.all_output();
  }
  const ProgramResult result = start("samples", {"train.steps=13", "data.mode=STORY", "data.accept_changed=true"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("data.mode changes from PACKED to STORY"));
}

TEST(ValidationData, ThatAreOthersThanBeforeAreSaid) {
  const Workspace job;
  const auto train = [&](const std::string& steps) { return job.train(1, "run", {"train.steps=" + steps}); };
  ASSERT_EQ(train("1").exit_code, 0);
  EXPECT_THAT(train("2").all_output(), Not(HasSubstr("validation data")));
  ASSERT_EQ(job.call("kangpt_preprocess", {"--input", "stories.txt", "--validation", "stories.txt", "--output", "data",
                                           "--force", "--vocabulary", vocabulary_file().string()})
                .exit_code,
            0);
  const ProgramResult result = train("3");
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("validation data changes from "));
  EXPECT_EQ(job.events("run", "start").at(2).at("changed_settings").at(1).at("field"), "validation data");
}

// In STORY mode only the first tokens of each story are predicted: their bytes count, not the mean of the split.
TEST(BitsPerByte, AreThoseOfWhatWasPredicted) {
  const Workspace job;
  const std::vector<std::string> settings = {"train.steps=1", "data.mode=STORY", "log.validation_batches=0"};
  ASSERT_EQ(job.train(1, "run", settings).exit_code, 0);
  const json validation = metrics_of(job.run("run")).at(0);
  const ProgramResult eval = job.call("kangpt_eval", {"--checkpoint", "run", "--data", "data", "--mode", "story",
                                                      "--vocabulary", vocabulary_file().string(), "--json"});
  ASSERT_EQ(eval.exit_code, 0) << eval.all_output();
  const json expected = json::parse(eval.stdout_text);
  EXPECT_EQ(expected["bytes_from"], "vocabulary");
  EXPECT_NEAR(validation.at("bits_per_byte").get<double>(), expected["bits_per_byte"].get<double>(), 1e-6);
}

TEST_F(RunRecord, DamageOfAllCheckpointsIsSaidWhereItIsFound) {
  copy_base("damaged");
  for (const auto& entry : fs::recursive_directory_iterator(job_->run("damaged") / "checkpoints")) {
    if (entry.path().extension() == ".h5") truncate_file(entry.path(), 7);
  }
  const ProgramResult first = start("damaged");
  EXPECT_EQ(first.exit_code, 65) << first.all_output();
  for (const std::string name : {"step-0000000012", "step-0000000008", "step-0000000004"}) {
    EXPECT_THAT(first.all_output(), HasSubstr(name + "/state-00-of-01.h5: has 7 bytes"));
    EXPECT_THAT(first.all_output(), HasSubstr("quarantine/" + name));
  }
  EXPECT_EQ(start("damaged").exit_code, 65);
  EXPECT_EQ(file("damaged/metrics.jsonl"), file("base/metrics.jsonl")) << "nothing begins anew";
}

TEST(FullDiskForAWhile, LeavesNoGapAndNoTornLine) {
  const Workspace job(Corpus::kTokens);
  const fs::path disk = job.run("disk");
  if (!mount_small_disk(disk, "4m")) GTEST_SKIP() << "no right to mount a tmpfs here";
  BackgroundProgram program(
      job.training_command(2, "disk/run",
                           {"train.steps=1000000", "checkpoint.interval_steps=0", "log.validation_interval_steps=0",
                            "log.tensorboard=true", "fault.inject=kill@rank=1,step=40"}),
      job.options());
  ASSERT_TRUE(program.wait_for_output("recovered in ")) << program.stderr_so_far();
  const fs::path ballast = disk / "ballast";
  fill_disk(ballast);
  ASSERT_TRUE(program.wait_for_output("metrics.jsonl: No space left")) << program.stderr_so_far();
  fs::remove(ballast);
  ASSERT_TRUE(program.wait_for_output("metrics.jsonl is written again; nothing is missing")) << program.stderr_so_far();
  program.send_signal(SIGUSR1);
  EXPECT_EQ(job.finish(program).exit_code, 75);
  const auto losses = job.losses("disk/run");
  EXPECT_EQ(losses.size(), losses.rbegin()->first) << "a line for each step";
  EXPECT_EQ(job.events("disk/run", "end").at(0).at("exit_code"), 75);
  unmount(disk);
}

// The line of a job that was killed within it must not swallow the next one's.
TEST_F(RunRecord, TornLinesAreRepairedByTheNextStart) {
  copy_base("torn");
  for (const std::string name : {"events.jsonl", "metrics.jsonl"}) {
    write_text(job_->run("torn") / name, file("torn/" + name) + R"({"event":"checkpo)");
  }
  const ProgramResult result = start("torn", {"train.steps=14"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("events.jsonl"));
  EXPECT_EQ(job_->events("torn", "start").size(), 2U);
  EXPECT_EQ(job_->losses("torn").size(), 14U);
  std::istringstream lines(file("torn/events.jsonl"));
  for (std::string line; std::getline(lines, line);) EXPECT_TRUE(json::accept(line)) << line;
}

}  // namespace
}  // namespace kangpt::test
