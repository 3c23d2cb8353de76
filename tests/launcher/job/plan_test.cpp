#include "launcher/job/plan.hpp"

#include <gtest/gtest.h>

#include <string>

#include "config/configuration.hpp"

namespace kangpt::launcher {
namespace {

// What --plan recommends for a batch of so many rows.
std::string layout(int batch_size, int logical_shards, int cpus) {
  JobSetup setup;
  setup.config.train.logical_shards = logical_shards;
  setup.state.batch_size = static_cast<std::uint32_t>(batch_size);
  setup.state.logical_shards = static_cast<std::uint32_t>(logical_shards == 0 ? 1 : logical_shards);
  return recommended_layout(setup, {.cpus = cpus});
}

TEST(RecommendedLayout, HasARankForEachProcessorWhereTheBatchAllows) {
  EXPECT_EQ(layout(16, 0, 2), "2 rank(s) x 1 thread(s) use all 2 processor(s): mpirun -q -np 2");
  EXPECT_EQ(layout(16, 0, 64), "16 rank(s) x 4 thread(s) use all 64 processor(s): mpirun -q -np 16");
  EXPECT_EQ(layout(15, 0, 8), "1 rank(s) x 8 thread(s) use all 8 processor(s): mpirun -q -np 1");
}

TEST(RecommendedLayout, KeepsTheLogicalShardsOfTheRun) {
  EXPECT_EQ(layout(16, 4, 8),
            "4 rank(s) x 2 thread(s) use all 8 processor(s): mpirun -q -np 4 ... --set run.threads=2");
}

TEST(RecommendedLayout, IsOneRankAGpu) {
  JobSetup setup;
  setup.device = config::Device::kCuda;
  EXPECT_EQ(recommended_layout(setup, {.cpus = 8}), "one rank a GPU");
}

// Megabytes that each of two ranks sends in a step.
double wire(double muon_learning_rate, config::Mixer mixer, config::FeedForward feed_forward) {
  JobSetup setup{.config = config::load_configuration("", {}).values};
  setup.config.optimizer.muon_learning_rate = muon_learning_rate;
  setup.config.model.mixer = mixer;
  setup.config.model.feed_forward = feed_forward;
  setup.config.model.layers = 3;  // the two ranks share the second
  setup.config.model.vocabulary_size = 128;
  setup.state.batch_size = 16;
  setup.state.logical_shards = 2;
  const std::string plan = describe_plan(setup, {.size = 2, .cpus = 2});
  return std::stod(plan.substr(plan.find("wire ") + std::string("wire ").size()));
}

TEST(Plan, CountsTheSecondGatherOfMuonWhereRanksShareAMatrix) {
  const double sent = wire(0, config::Mixer::kAttention, config::FeedForward::kMlp);
  EXPECT_NEAR(wire(0.02, config::Mixer::kAttention, config::FeedForward::kMlp), 1.5 * sent, 0.02 * sent);
  EXPECT_EQ(wire(0, config::Mixer::kConv, config::FeedForward::kKan),
            wire(0.02, config::Mixer::kConv, config::FeedForward::kKan))
      << "there is no matrix";
}

TEST(Plan, CountsTheTokensThatAreInputs) {
  JobSetup setup{.config = config::load_configuration("", {"data.sequence_length=64"}).values};
  setup.state.batch_size = 16;
  setup.state.logical_shards = 1;
  const auto has = [&](config::DataMode mode, const std::string& text) {
    setup.config.data.mode = mode;
    return describe_plan(setup, {.size = 1, .cpus = 1}).find(text) != std::string::npos;
  };
  EXPECT_TRUE(has(config::DataMode::kPacked, "of up to 1,024 tokens"));
  EXPECT_TRUE(has(config::DataMode::kPadded, "of up to 1,024 tokens"));
  EXPECT_TRUE(has(config::DataMode::kStory, "of up to 1,008 tokens")) << "the last of each row is predicted only";
}

TEST(Plan, SaysWhereNothingIsLeftToDo) {
  JobSetup setup{.config = config::load_configuration("", {}).values};
  setup.state.batch_size = 16;
  setup.state.logical_shards = 1;
  setup.total_steps = 20;
  setup.checkpoint = "run/checkpoints/step-0000000020";
  const auto has = [&](std::uint64_t step, const std::string& text) {
    setup.state.step = step;
    return describe_plan(setup, {.size = 1, .cpus = 1}).find(text) != std::string::npos;
  };
  EXPECT_TRUE(has(19, ", going on behind step 19\n"));
  EXPECT_TRUE(has(20, "; nothing to do, since step 20 is done\n"));
  EXPECT_TRUE(has(30, "; nothing to do, since step 30 is done\n"));
}

// What the schema says of the built-in network.
TEST(Plan, TheBuiltInNetworkHasAsManyParametersAsItsDescriptionSays) {
  JobSetup setup{.config = config::load_configuration("", {}).values};
  setup.state.batch_size = 16;
  setup.state.logical_shards = 1;
  EXPECT_NE(describe_plan(setup, {.size = 1, .cpus = 1}).find("16,298,496 parameters"), std::string::npos);
}

}  // namespace
}  // namespace kangpt::launcher
