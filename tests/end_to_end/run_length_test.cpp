// What decides how far a run goes and what of it is kept: the best validation, patience, schedules, stories held out.
// Each is the same bits on any number of ranks, and after a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/file.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string checkpoint_of(std::uint64_t step) {
  const std::string digits = std::to_string(step);
  return "checkpoints/step-" + std::string(10 - digits.size(), '0') + digits;
}

class RunLength : public SharedWorkspace<Corpus::kTokens> {
 protected:
  static void train(int ranks, const std::string& name, const std::vector<std::string>& settings) {
    const ProgramResult result = workspace().train(ranks, name, settings);
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }
  // The same on 1, 2 and 4 ranks, and with a worker that crashes in step `step`. The runs are called name-1 and so on.
  static void expect_same_bits(const std::string& name, const std::vector<std::string>& settings, std::uint64_t step) {
    for (const int ranks : {1, 2, 4}) train(ranks, name + "-" + std::to_string(ranks), settings);
    std::vector<std::string> with_fault = settings;
    with_fault.push_back("fault.inject=\"SEGV@rank=1,step=" + std::to_string(step) + ",phase=snapshot\"");
    with_fault.push_back("checkpoint.interval_steps=3");
    train(2, name + "-crash", with_fault);
    EXPECT_EQ(workspace().events(name + "-crash", "restart").size(), 1U);
    const std::string digest = workspace().digest(name + "-1");
    EXPECT_EQ(digest.size(), 64U);
    for (const char* other : {"-2", "-4", "-crash"}) {
      EXPECT_EQ(workspace().digest(name + other), digest) << other;
      EXPECT_EQ(workspace().losses(name + other), workspace().losses(name + "-1")) << other;
      EXPECT_EQ(validations(name + other), validations(name + "-1")) << other;
    }
  }
  static std::vector<std::pair<std::uint64_t, double>> validations(const std::string& name) {
    std::vector<std::pair<std::uint64_t, double>> found;
    std::istringstream lines(read_text(workspace().run(name) / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const json value = json::parse(line);
      if (value.contains("validation_loss")) found.emplace_back(value["step"], value["validation_loss"]);
    }
    return found;
  }
  static bool has_checkpoint(const std::string& name, std::uint64_t step) {
    return fs::exists(workspace().run(name) / checkpoint_of(step) / "manifest.textproto");
  }
};

// Steps far too long for this network: the loss soon rises.
const std::vector<std::string> kUnstable = {"optimizer.learning_rate=0.7",     "optimizer.schedule=CONSTANT",
                                            "optimizer.warmup_steps=0",        "optimizer.gradient_clip_norm=0",
                                            "log.validation_interval_steps=1", "train.steps=40",
                                            "checkpoint.keep_last=2",          "checkpoint.keep_best=true",
                                            "checkpoint.interval_steps=0",     "train.patience=3"};

TEST_F(RunLength, PatienceEndsARunAndTheBestCheckpointStays) {
  expect_same_bits("patience", kUnstable, 3);
  std::uint64_t best = 0, end = 40;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [step, loss] : validations("patience-1")) {
    if (loss < least) {
      least = loss;
      best = step;
    } else if (step - best == 3) {
      end = step;
    }
  }
  ASSERT_LT(end, 40U) << "the loss never rose, so that this test says nothing";
  EXPECT_EQ(workspace().losses("patience-1").rbegin()->first, end);
  for (const char* name : {"patience-1", "patience-2", "patience-4", "patience-crash"}) {
    EXPECT_TRUE(has_checkpoint(name, best)) << name;
    EXPECT_TRUE(has_checkpoint(name, end)) << name;
    const json summary = json::parse(read_text(workspace().run(name) / "summary.json"));
    EXPECT_EQ(summary["steps"], end);
    EXPECT_EQ(summary["best_step"], best);
  }
  const std::string before = workspace().digest("patience-2");
  const ProgramResult again = workspace().train(2, "patience-2", kUnstable);
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.all_output(), HasSubstr("raise train.patience"));
  EXPECT_EQ(workspace().digest("patience-2"), before);
}

const std::vector<std::string> kWsd = {"optimizer.schedule=WSD", "optimizer.decay_steps=4",
                                       "checkpoint.interval_steps=1", "checkpoint.keep_last=2",
                                       "log.validation_interval_steps=0"};

std::vector<std::string> with(std::vector<std::string> settings, const std::string& more) {
  settings.push_back(more);
  return settings;
}

TEST_F(RunLength, ALongerRunUnderWsdIsTheSameBeforeTheDecay) {
  expect_same_bits("wsd", with(kWsd, "train.steps=12"), 10);
  train(1, "longer", with(kWsd, "train.steps=16"));
  const auto losses = workspace().losses("wsd-1"), longer = workspace().losses("longer");
  for (std::uint64_t step = 1; step <= 8; ++step) EXPECT_EQ(losses.at(step), longer.at(step));
  EXPECT_NE(losses.at(11), longer.at(11)) << "there one has begun to decay";
  // From its last step before the decay, the short run becomes the long one.
  ASSERT_TRUE(has_checkpoint("wsd-2", 8)) << "kept, although it is none of the newest two";
  for (const std::uint64_t step : {11, 12}) fs::remove_all(workspace().run("wsd-2") / checkpoint_of(step));
  train(2, "wsd-2", with(kWsd, "train.steps=16"));
  EXPECT_EQ(workspace().digest("wsd-2"), workspace().digest("longer"));
  EXPECT_EQ(workspace().losses("wsd-2"), longer);
}

TEST_F(RunLength, LinearDecayGivesTheSameBitsEverywhere) {
  expect_same_bits("linear", {"optimizer.schedule=LINEAR"}, 6);
}

TEST_F(RunLength, StoriesCanBeHeldOutForValidation) {
  const fs::path plain = workspace().path() / "plain";
  fs::copy(workspace().path() / "data", plain, fs::copy_options::recursive);
  data::Manifest manifest = data::open_manifest(plain);
  manifest.splits.resize(1);
  base::write_file_atomically(plain / data::kManifestName, to_text(manifest));
  const std::vector<std::string> settings = {"data.directory=plain", "data.holdout=0.1"};
  expect_same_bits("holdout", settings, 6);
  EXPECT_EQ(validations("holdout-1").size(), 3U) << "steps 5, 10 and 12";
  train(1, "none", {"data.directory=plain"});
  EXPECT_TRUE(validations("none").empty());
  EXPECT_NE(workspace().losses("none"), workspace().losses("holdout-1"));
  const ProgramResult other =
      workspace().train(1, "holdout-1", {"data.directory=plain", "data.holdout=0.2", "train.steps=14"});
  EXPECT_EQ(other.exit_code, 78) << other.all_output();
  EXPECT_THAT(other.all_output(), HasSubstr("data.accept_changed=true"));
  // A folder with a validation split of its own is as before.
  train(1, "given", {"data.holdout=0.1"});
  train(1, "ignored", {});
  EXPECT_EQ(workspace().digest("given"), workspace().digest("ignored"));
}

// Fine-tuning: weights of another run, from wherever they are.
TEST_F(RunLength, FineTuningGivesTheSameBitsEverywhere) {
  train(1, "base", {"train.steps=3"});
  const ProgramResult exported =
      workspace().call("kangpt_checkpoint", {"export", "base", "--format", "huggingface", "--output", "folder"});
  ASSERT_EQ(exported.exit_code, 0) << exported.all_output();
  expect_same_bits("tuned", {"model.initial_weights=base", "run.seed=5"}, 6);
  train(2, "from-folder", {"model.initial_weights=folder", "run.seed=5"});
  EXPECT_EQ(workspace().digest("from-folder"), workspace().digest("tuned-1"));
}

}  // namespace
}  // namespace kangpt::test
