#include "launcher/job/plan.hpp"

#include <gtest/gtest.h>

#include <string>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "io/safetensors.hpp"
#include "launcher/job/setup_text.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "tests/data_pipeline/shards/small_dataset.hpp"
#include "tests/support/files.hpp"

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
  EXPECT_EQ(layout(16, 0, 2), "2 rank(s) x 1 thread(s) use all 2 processor(s): mpirun -np 2");
  EXPECT_EQ(layout(16, 0, 64), "16 rank(s) x 4 thread(s) use all 64 processor(s): mpirun -np 16");
  EXPECT_EQ(layout(15, 0, 8), "1 rank(s) x 8 thread(s) use all 8 processor(s): mpirun -np 1");
}

TEST(RecommendedLayout, KeepsTheLogicalShardsOfTheRun) {
  EXPECT_EQ(layout(16, 4, 8), "4 rank(s) x 2 thread(s) use all 8 processor(s): mpirun -np 4 ... --set run.threads=2");
}

TEST(RecommendedLayout, IsOneRankAGpu) {
  JobSetup setup;
  setup.device = config::Device::kCuda;
  EXPECT_EQ(recommended_layout(setup, {.cpus = 8}), "one rank a GPU");
}

// Megabytes that each of two ranks sends in a step.
double wire(double muon_learning_rate, config::Mixer mixer, config::FeedForward feed_forward) {
  JobSetup setup;
  setup.config = config::load_configuration("", {}).values;
  setup.config.optimizer.muon_learning_rate = muon_learning_rate;
  setup.config.model.mixers = {mixer};
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

// Slots and checkpoints have a fourth array.
TEST(Plan, CountsTheAverageOfTheWeights) {
  JobSetup setup;
  setup.config = config::load_configuration("", {"model.vocabulary_size=50000"}).values;
  setup.state.batch_size = 16;
  setup.state.logical_shards = 2;
  const auto megabytes = [&](double ema_decay, const std::string& line) {
    setup.config.optimizer.ema_decay = ema_decay;
    const std::string plan = describe_plan(setup, {.size = 2, .cpus = 2});
    return std::stod(plan.substr(plan.find(line) + line.size()));
  };
  EXPECT_NEAR(megabytes(0.999, "\ncheckpoint "), megabytes(0, "\ncheckpoint ") * 4 / 3, 1);
  // A rank has half of them in each of two slots, and in the checkpoint on its way to disk.
  const double added = 1.5 * megabytes(0, "\ncheckpoint ") / 3;
  EXPECT_NEAR(megabytes(0.999, "\nmemory "), megabytes(0, "\nmemory ") + added, 2);
}

TEST(Plan, CountsTheTokensThatAreInputs) {
  JobSetup setup;
  setup.config = config::load_configuration("", {"data.sequence_length=64"}).values;
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

TEST(Plan, SaysWhatAGpuHasToHold) {
  JobSetup setup;
  setup.config = config::load_configuration("", {"train.precision=AUTO", "model.vocabulary_size=50257"}).values;
  setup.device = config::Device::kCuda;
  setup.state.batch_size = 32;
  setup.state.logical_shards = 2;
  const auto megabytes = [&](const std::string& before) {
    const std::string plan = describe_plan(setup, {.size = 2, .cpus = 2});
    const std::size_t begin = plan.find(before, plan.find("\nmemory "));
    EXPECT_NE(begin, std::string::npos) << plan;
    return begin == std::string::npos ? 0 : std::stod(plan.substr(begin + before.size()));
  };
  const double flat = 4e-6 * static_cast<double>(model::parameter_layout(setup.config.model).parameter_count);
  const double with_muon = megabytes("parameters, gradients and moments ");
  setup.config.optimizer.muon_learning_rate = 0;
  const double state = megabytes("parameters, gradients and moments ");
  EXPECT_NEAR(state, (2 + 3.0 / 2) * flat, 1) << "half of three";
  // Twice 16 layers of four matrices [128, 128] and their squares.
  EXPECT_NEAR(with_muon - state, 4e-6 * 2 * 16 * 4 * 2 * 128 * 128, 1);
  World world{.size = 2, .cpus = 2};
  world.gpus.memory_bytes = 80'000'000'000;
  EXPECT_EQ(describe_plan(setup, world).find("a GPU of this job has "), std::string::npos);
  world.gpus.memory_bytes = 100'000'000;
  EXPECT_NE(describe_plan(setup, world).find("a GPU of this job has 100 MB, which will not do"), std::string::npos);
  const double rounded = megabytes("one layer after the other ");
  setup.config.train.precision = config::Precision::kFp32;
  EXPECT_GT(megabytes("one layer after the other "), 1.3 * rounded) << "AUTO is BF16 there";
}

TEST(Plan, SaysWhereNothingIsLeftToDo) {
  JobSetup setup;
  setup.config = config::load_configuration("", {}).values;
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

TEST(Nodes, EachHasItsCopiesOnTheNext) {
  EXPECT_EQ(count_nodes({}), 1);
  EXPECT_EQ(copy_holder({0, 0}, 1), -1);
  EXPECT_EQ(copy_holder({0, 0, 1, 1}, 1), 3);
  EXPECT_EQ(copy_holder({0, 0, 1, 1}, 2), 0);
  EXPECT_EQ(copy_holder({0, 1, 2}, 2), 0);
  EXPECT_EQ(copy_sources({0, 0, 0, 1}, 3), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(copy_sources({0, 0, 0, 1}, 1), (std::vector<int>{}));
  EXPECT_EQ(copy_sources({0, 0, 0, 1}, 0), (std::vector<int>{3}));
  EXPECT_TRUE(is_first_of_node({0, 1, 0, 1}, 1));
  EXPECT_FALSE(is_first_of_node({0, 1, 0, 1}, 2));
}

TEST(Plan, SaysWhatCopiesOnOtherNodesTake) {
  JobSetup setup;
  setup.config = config::load_configuration("", {"model.vocabulary_size=50257"}).values;
  setup.state.batch_size = 16;
  setup.state.logical_shards = 4;
  const auto line = [&](const Nodes& nodes) {
    World world{.size = 4, .cpus = 4};
    world.nodes = nodes;
    const std::string plan = describe_plan(setup, world);
    const std::size_t begin = plan.find("copies ");
    return plan.substr(begin, plan.find('\n', begin) - begin);
  };
  EXPECT_NE(line({0, 0, 0, 0}).find("none: all ranks are on one node"), std::string::npos);
  EXPECT_NE(line({0, 0, 1, 1}).find("45.8 MB sent by each rank a step to another of 2 nodes"), std::string::npos)
      << line({0, 0, 1, 1});  // 12 bytes of each of a quarter of the parameters
  EXPECT_NE(line({0, 0, 1, 1}).find("91.5 MB of memory"), std::string::npos);
  EXPECT_NE(line({0, 0, 0, 1}).find("275 MB of memory"), std::string::npos) << line({0, 0, 0, 1});
  setup.config.checkpoint.copy_interval_steps = 5;
  EXPECT_NE(line({0, 0, 1, 1}).find("every 5 steps"), std::string::npos);
  setup.config.checkpoint.copy_interval_steps = 0;
  EXPECT_NE(line({0, 0, 1, 1}).find("copy_interval_steps is 0"), std::string::npos);
}

// What the schema says of the built-in network, with GPT-2's vocabulary.
TEST(Plan, TheBuiltInNetworkHasAsManyParametersAsItsDescriptionSays) {
  JobSetup setup;
  setup.config = config::load_configuration("", {"model.vocabulary_size=50257"}).values;
  setup.state.batch_size = 16;
  setup.state.logical_shards = 1;
  EXPECT_NE(describe_plan(setup, {.size = 1, .cpus = 1}).find("15,249,920 parameters"), std::string::npos);
}

// A start from nothing in a folder with data, for two ranks.
class SettledJob : public ::testing::Test {
 protected:
  SettledJob() {
    test::fs::create_directories(folder_ / "data");
    test::write_dataset(folder_ / "data", test::numbered_stories(100), 17);
    config_ = config::load_configuration(
                  "", {"data.directory=" + (folder_ / "data").string(), "run.directory=" + (folder_ / "run").string(),
                       "train.steps=0", "train.epochs=2", "data.sequence_length=16"})
                  .values;
  }

  test::TemporaryDirectory folder_;
  config::RunConfig config_;
  World world_{.size = 2, .cpus = 8};
};

TEST_F(SettledJob, GrowsFromStageToStage) {
  const CheckedJob checked = check_job(config_, world_);
  EXPECT_EQ(checked.total_steps, 2 * checked.batches_per_epoch);
  EXPECT_EQ(checked.fresh_state.logical_shards, 2U);
  EXPECT_EQ(checked.fresh_state.threads, 4U);
  EXPECT_NE(checked.notes.find("no validation split"), std::string::npos);
  const StartedJob started = find_start(checked, world_, BadCheckpoints::kLeave);
  EXPECT_EQ(started.checkpoint, "");
  EXPECT_EQ(started.state, checked.fresh_state);
  EXPECT_EQ(started.notes, checked.notes);
  EXPECT_EQ(settle(started, config::Device::kCuda).device, config::Device::kCuda);
}

// Whatever becomes of the place that the configuration names.
TEST_F(SettledJob, KnowsTheFileOfItsFirstWeights) {
  config_.model.layers = config_.model.d_model = config_.model.heads = config_.model.head_dim = 2;
  config_.model.vocabulary_size = 50257;
  const base::ParameterTable table = model::parameter_layout(config_.model);
  const std::vector<float> zeros(table.flat_size);
  std::vector<io::TensorToWrite> tensors;
  for (const base::ParameterEntry& entry : table.entries)
    tensors.push_back({entry.name, entry.shape, std::span(zeros).first(entry.size)});
  test::fs::create_directories(folder_ / "export");
  io::write_safetensors(folder_ / "export/model.safetensors", tensors, {});
  config_.model.initial_weights = (folder_ / "export").string();
  const JobSetup setup = settle(find_start(check_job(config_, world_), world_, BadCheckpoints::kLeave), {});
  EXPECT_EQ(setup.initial_weights, folder_ / "export/model.safetensors");
  EXPECT_EQ(setup.run_id, "");
}

TEST_F(SettledJob, ComesWholeFromRankZeroToTheOthers) {
  JobSetup sent = settle(find_start(check_job(config_, world_), world_, BadCheckpoints::kLeave), config::Device::kCuda);
  sent.checkpoint = folder_ / "run/checkpoints/step-0000000007";
  sent.state.step = 7;
  sent.initial_weights = "weights\nwith \xff.safetensors";
  sent.run_id = "0123456789abcdef";
  sent.changes = {{"train.steps", "5", "9"}};
  sent.validation_bytes_per_token = 3.7;
  sent.validation_data = "0123";
  const JobSetup received = setup_from_text(to_text(sent));
  EXPECT_EQ(config::to_text(received.config), config::to_text(sent.config));
  EXPECT_EQ(data::dataset_facts(received.sources).fingerprint, sent.fresh_state.dataset_fingerprint);
  EXPECT_EQ(received.fresh_state, sent.fresh_state);
  EXPECT_EQ(received.state, sent.state);
  EXPECT_EQ(received.checkpoint, sent.checkpoint);
  EXPECT_EQ(received.initial_weights, sent.initial_weights);
  EXPECT_EQ(received.run_id, sent.run_id);
  EXPECT_EQ(received.batches_per_epoch, sent.batches_per_epoch);
  EXPECT_EQ(received.total_steps, sent.total_steps);
  EXPECT_EQ(received.device, sent.device);
  EXPECT_EQ(received.validation_bytes_per_token, sent.validation_bytes_per_token);
  EXPECT_EQ(received.validation_data, sent.validation_data);
  ASSERT_EQ(received.changes.size(), 1U);
  EXPECT_EQ(received.changes[0].now, "9");
}

TEST_F(SettledJob, IsRefusedWhereDataHaveGoneOnTheOtherSide) {
  const JobSetup sent = settle(find_start(check_job(config_, world_), world_, BadCheckpoints::kLeave), {});
  test::fs::remove_all(folder_ / "data");
  EXPECT_THROW(setup_from_text(to_text(sent)), MissingInputError);
}

}  // namespace
}  // namespace kangpt::launcher
