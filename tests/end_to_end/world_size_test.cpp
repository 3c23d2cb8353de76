// The bits of a run do not depend on how many ranks compute it, nor on where it was stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WorldSize : public SharedWorkspace<Corpus::kStories> {};

TEST_F(WorldSize, OneTwoAndFourRanksGiveTheSameBits) {
  for (const int ranks : {1, 2, 4}) {
    const ProgramResult result = workspace().train(ranks, "np" + std::to_string(ranks));
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.left_running, IsEmpty());
  }
  EXPECT_EQ(workspace().digest("np1").size(), 64U);
  EXPECT_EQ(workspace().digest("np1"), workspace().digest("np2"));
  EXPECT_EQ(workspace().digest("np1"), workspace().digest("np4"));
  EXPECT_EQ(workspace().losses("np1").size(), 12U);
  EXPECT_EQ(workspace().losses("np1"), workspace().losses("np4"));
  EXPECT_THAT(read_text(workspace().run("np1") / "summary.json"), HasSubstr(workspace().digest("np1")));
}

// At 1, 2 and 4 ranks, on from a checkpoint and after a kill, in both precisions.
TEST_F(WorldSize, BlocksOfSamplesAndRecomputedLayersGiveTheSameBits) {
  for (const std::string precision : {"FP32", "BF16"}) {
    const auto train = [&](int ranks, const std::string& name, const std::vector<std::string>& more) {
      std::vector<std::string> settings = {"data.shuffle=BLOCK", "model.layers=4", "optimizer.schedule=CONSTANT",
                                           "train.precision=" + precision};
      settings.insert(settings.end(), more.begin(), more.end());
      const ProgramResult result = workspace().train(ranks, name + precision, settings);
      ASSERT_EQ(result.exit_code, 0) << result.all_output();
    };
    const std::string recompute = "train.recompute=LAYERS";
    train(1, "kept", {});
    train(2, "again", {recompute, "train.steps=6"});
    train(4, "again", {recompute, "fault.inject=KILL@rank=1,step=9,phase=backward"});
    EXPECT_EQ(workspace().digest("again" + precision), workspace().digest("kept" + precision));
    EXPECT_EQ(workspace().losses("again" + precision), workspace().losses("kept" + precision));
  }
}

// Dropout goes by seed, step and place in the batch alone; the average of the weights is divided among ranks as moments
// are. With crashes, and with a start that ends at one and is gone on with by another number of ranks.
TEST_F(WorldSize, DropoutAndTheAverageOfTheWeightsAreTheSameBitsWhateverHappens) {
  const auto train = [](int ranks, const std::string& name, std::vector<std::string> settings) {
    settings.insert(settings.end(), {"model.dropout=0.2", "optimizer.ema_decay=0.9"});
    return workspace().train(ranks, name, settings);
  };
  ASSERT_EQ(train(1, "steady1", {}).exit_code, 0);
  const ProgramResult crashed =
      train(2, "steady2",
            {"fault.inject=segv@rank=1,step=5,phase=backward", "fault.inject=kill@rank=0,step=8,phase=checkpoint"});
  ASSERT_EQ(crashed.exit_code, 0) << crashed.all_output();
  EXPECT_EQ(workspace().events("steady2", "failure").size(), 2U);
  const std::vector<std::string> ending = {"fault.max_restarts=0", "fault.inject=segv@rank=0,step=7,phase=forward"};
  EXPECT_EQ(train(4, "steady4", ending).exit_code, 70);
  const ProgramResult resumed = train(1, "steady4", ending);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.all_output();
  for (const char* const run : {"steady2", "steady4"}) {
    EXPECT_EQ(workspace().digest(run), workspace().digest("steady1")) << run;
    EXPECT_EQ(workspace().losses(run), workspace().losses("steady1")) << run;
  }
  ASSERT_EQ(workspace().train(1, "firm").exit_code, 0);
  EXPECT_NE(workspace().losses("firm"), workspace().losses("steady1")) << "dropout drops nothing";
}

// All values of a .safetensors file, tensor after tensor.
std::vector<float> values_of(const fs::path& file) {
  const std::string bytes = read_text(file);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  std::vector<float> values((bytes.size() - sizeof header_bytes - header_bytes) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + sizeof header_bytes + header_bytes, values.size() * sizeof(float));
  return values;
}

// Switched on behind step 2, hence beginning with the weights there. It changes nothing else.
TEST_F(WorldSize, TheAverageIsThatOfTheWeightsOfEachStep) {
  constexpr double kDecay = 0.3;
  const auto settings = [](int steps, double decay) -> std::vector<std::string> {
    return {"train.steps=" + std::to_string(steps),
            "optimizer.ema_decay=" + std::to_string(decay),
            "optimizer.schedule=CONSTANT",
            "checkpoint.interval_steps=1",
            "checkpoint.keep_last=9",
            "log.validation_batches=0"};
  };
  const auto weights = [](const std::string& run, int step, const std::vector<std::string>& options = {}) {
    const std::string output = run + std::to_string(step) + (options.empty() ? "" : "a") + ".safetensors";
    std::vector<std::string> arguments = {"export", run + "/checkpoints/step-000000000" + std::to_string(step),
                                          "--output", output, "--force"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    EXPECT_EQ(workspace().call("kangpt_checkpoint", arguments).exit_code, 0);
    return values_of(workspace().path() / output);
  };
  const auto loss = [](const std::vector<std::string>& options) {
    std::vector<std::string> arguments = {"--checkpoint", "averaged", "--data", "data", "--json"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const ProgramResult result = workspace().call("kangpt_eval", arguments);
    return nlohmann::json::parse(result.stdout_text).at("loss").get<double>();
  };
  ASSERT_EQ(workspace().train(1, "plain", settings(6, 0)).exit_code, 0);
  ASSERT_EQ(workspace().train(2, "averaged", settings(2, 0)).exit_code, 0);
  const ProgramResult result = workspace().train(2, "averaged", settings(6, kDecay));
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_EQ(weights("averaged", 6), weights("plain", 6));
  const std::vector<float> first = weights("averaged", 2);
  std::vector<double> expected(first.begin(), first.end());
  for (int update = 1; update <= 4; ++update) {
    const double decay = std::min(kDecay, (1.0 + update) / (10.0 + update));
    const std::vector<float> now = weights("averaged", 2 + update);
    for (std::size_t i = 0; i < now.size(); ++i) expected[i] = decay * expected[i] + (1 - decay) * now[i];
  }
  const std::vector<float> found = weights("averaged", 6, {"--average"});
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-6) << i;
  const auto summary = [](const std::string& run) {
    return nlohmann::json::parse(read_text(workspace().run(run) / "summary.json")).at("validation_loss").get<double>();
  };
  EXPECT_NEAR(summary("averaged"), loss({"--average"}), 1e-5);
  EXPECT_NEAR(summary("plain"), loss({}), 1e-5);
  EXPECT_GT(std::abs(loss({}) - loss({"--average"})), 1e-4);
}

// Multiplies all values of one tensor of a .safetensors file.
void multiply_tensor(const fs::path& file, const std::string& name, float factor) {
  std::string bytes = read_text(file);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const auto range = nlohmann::json::parse(bytes.substr(sizeof header_bytes, header_bytes)).at(name).at("data_offsets");
  for (std::uint64_t at = range[0]; at < range[1].get<std::uint64_t>(); at += sizeof(float)) {
    float value = 0;
    char* const place = bytes.data() + sizeof header_bytes + header_bytes + at;
    std::memcpy(&value, place, sizeof value);
    value *= factor;
    std::memcpy(place, &value, sizeof value);
  }
  write_text(file, bytes);
}

// A network that is very sure has gradients near the least number of fp32, whose sums some would take for 0.
TEST_F(WorldSize, TinyGradientsHaveTheSameSumsInWorkersAndAgents) {
  ASSERT_EQ(workspace().train(1, "sure", {"train.steps=1"}).exit_code, 0);
  ASSERT_EQ(workspace().call("kangpt_checkpoint", {"export", "sure", "--output", "sure.safetensors"}).exit_code, 0);
  multiply_tensor(workspace().path() / "sure.safetensors", "head.weight", 40);
  for (const int ranks : {1, 4}) {
    const ProgramResult result = workspace().train(ranks, "sure" + std::to_string(ranks),
                                                   {"model.initial_weights=sure.safetensors", "train.steps=2"});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }
  EXPECT_EQ(workspace().digest("sure1"), workspace().digest("sure4"));
}

TEST_F(WorldSize, EightRanksTrainOnTwoProcessors) {
  const ProgramResult result = workspace().train(8, "np8", {"train.logical_shards=8", "train.steps=2"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
}

TEST_F(WorldSize, ReductionFastTrainsToo) {
  const ProgramResult result = workspace().train(2, "fast", {"train.reduction=FAST", "train.steps=3"});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
}

TEST_F(WorldSize, ASignalStopsAfterACheckpointAndTheSameCommandGoesOn) {
  ASSERT_EQ(workspace().train(2, "whole", {"train.steps=40"}).exit_code, 0);
  const ProgramOptions options{.working_directory = workspace().path(), .timeout_seconds = kTrainingTimeoutSeconds};
  BackgroundProgram first(workspace().training_command(2, "stopped", {"train.steps=40"}), options);
  ASSERT_TRUE(first.wait_for_output("step 1/40"));
  first.send_signal(SIGUSR1);
  const ProgramResult stopped = first.wait();
  ASSERT_EQ(stopped.exit_code, 75) << stopped.all_output();
  EXPECT_THAT(stopped.left_running, IsEmpty());
  const ProgramResult resumed = workspace().train(4, "stopped", {"train.steps=40"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.all_output();
  EXPECT_THAT(resumed.stderr_text, HasSubstr("going on from"));
  EXPECT_EQ(workspace().digest("stopped"), workspace().digest("whole"));
  EXPECT_EQ(workspace().losses("stopped"), workspace().losses("whole"));
}

TEST_F(WorldSize, AFinishedRunIsLeftAlone) {
  ASSERT_EQ(workspace().train(1, "done", {"train.steps=2"}).exit_code, 0);
  const std::string digest = workspace().digest("done");
  EXPECT_EQ(workspace().train(1, "done", {"train.steps=2"}).exit_code, 0);
  EXPECT_EQ(workspace().digest("done"), digest);
}

}  // namespace
}  // namespace kangpt::test
