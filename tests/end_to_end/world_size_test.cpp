// The bits of a run do not depend on how many ranks compute it, nor on where it was stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

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
