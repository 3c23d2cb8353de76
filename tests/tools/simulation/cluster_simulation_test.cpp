#include "tools/simulation/cluster_simulation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "tools/simulation/simulation_report.hpp"

namespace kangpt::tools {
namespace {

using sharding::Schedule;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kBytes = 64e6;

Cluster without_latency() {
  Cluster cluster;
  cluster.launch_seconds = 0;
  cluster.in_node_latency_seconds = 0;
  cluster.network_latency_seconds = 0;
  cluster.message_seconds = 0;
  return cluster;
}

double bandwidth_seconds(Schedule schedule, int gpus) {
  return collective_seconds(without_latency(), schedule, gpus, kBytes);
}

TEST(CollectiveSeconds, OfOneNodeIsTheVolumeOverTheLink) {
  for (const Schedule schedule : {Schedule::kDirect, Schedule::kHalving, Schedule::kRing}) {
    EXPECT_EQ(bandwidth_seconds(schedule, 1), 0);
    for (const int gpus : {2, 8})
      EXPECT_NEAR(bandwidth_seconds(schedule, gpus), kBytes * (gpus - 1) / gpus / 360e9, 1e-9);
  }
}

TEST(CollectiveSeconds, HalvingTakesAnEighthOfTheDirectTrafficOverTheNetwork) {
  for (const int gpus : {16, 1024}) {
    const double off_node_share = (gpus - 8.0) / gpus;
    EXPECT_NEAR(bandwidth_seconds(Schedule::kDirect, gpus), kBytes * off_node_share / 45e9, 1e-9);
    EXPECT_NEAR(bandwidth_seconds(Schedule::kHalving, gpus),
                kBytes * (7.0 / 8) / 360e9 + kBytes * off_node_share / 8 / 45e9, 1e-9);
  }
}

TEST(CollectiveSeconds, LatencyGrowsWithTheLogarithmForHalvingAndWithTheRanksForARing) {
  Cluster cluster;
  const auto latency = [&](Schedule schedule, int gpus) { return collective_seconds(cluster, schedule, gpus, 0); };
  EXPECT_NEAR(latency(Schedule::kHalving, 1024), 10 * cluster.launch_seconds, 1e-9);
  cluster.launch_seconds = 0;
  const double tiny = 1;  // one byte makes the links count
  EXPECT_GT(collective_seconds(cluster, Schedule::kRing, 1024, tiny),
            100 * collective_seconds(cluster, Schedule::kHalving, 1024, tiny));
}

// The network of configs/upstream_parity.textproto, by AdamW alone.
config::RunConfig reference() {
  return config::parse_configuration(
             "model { vocabulary_size: 50257 head_dim: 2 kan_degree: 8 final_norm: false } "
             "optimizer { muon_learning_rate: 0 }")
      .values;
}

TEST(StepSegments, HoldAllParametersAndAllTime) {
  const Cluster cluster;
  const auto segments = step_segments(reference(), cluster, 16384);
  ASSERT_EQ(segments.size(), 19U);  // two embeddings, 16 layers, head
  double bytes = 0, seconds = 0;
  for (const Segment& segment : segments) {
    bytes += segment.bytes;
    seconds += segment.forward_seconds + segment.backward_seconds;
  }
  EXPECT_EQ(bytes, 4.0 * 15'375'360);
  EXPECT_NEAR(seconds, 16384 / cluster.tokens_per_second, 1e-12);
  EXPECT_EQ(segments.back().name, "head");
  EXPECT_NEAR(segments.back().backward_seconds / seconds, 0.72 * 2 / 3, 0.01);  // performance: 72 % of the arithmetic
  EXPECT_EQ(segments.front().backward_seconds, 0);
}

TEST(StepSegments, GiveEachLayerTheTimeOfItsOwnParts) {
  config::RunConfig config = reference();
  config.model.mixers = {config::Mixer::kAttention, config::Mixer::kConv};
  for (const auto part : {config::FeedForward::kSwiglu, config::FeedForward::kGroupedKan}) {
    config.model.feed_forward = part;
    const auto segments = step_segments(config, {}, 16384);
    double seconds = 0;
    for (const Segment& segment : segments) seconds += segment.forward_seconds + segment.backward_seconds;
    EXPECT_NEAR(seconds, 16384 / Cluster{}.tokens_per_second, 1e-12);
    EXPECT_DOUBLE_EQ(segments[2].forward_seconds, segments[4].forward_seconds);
    EXPECT_GT(segments[3].forward_seconds, segments[2].forward_seconds) << "11 taps of all channels";
  }
}

TEST(SimulateStep, OverlapHidesAllButTheLastBucketOfEachPass) {
  const Cluster cluster = without_latency();
  const auto segments = step_segments(reference(), cluster, 65536);  // compute enough to hide everything that can be
  const StepTimes after = simulate_step(segments, cluster, {Schedule::kHalving, 64, 0});
  const StepTimes beside = simulate_step(segments, cluster, {Schedule::kHalving, 64, 1e6});
  const double all = collective_seconds(cluster, Schedule::kHalving, 64, 4.0 * 15'375'360);
  const double embeddings = collective_seconds(cluster, Schedule::kHalving, 64, 4.0 * (50257 + 64) * 128);
  EXPECT_NEAR(after.reduce, all, 1e-9);
  EXPECT_NEAR(after.gather, all, 1e-9);
  // Ready last: the bucket of the first two layers, then the embeddings, which are also needed first.
  const double two_layers = segments[2].bytes + segments[3].bytes;
  EXPECT_NEAR(beside.reduce, embeddings + collective_seconds(cluster, Schedule::kHalving, 64, two_layers), 1e-9);
  EXPECT_GE(beside.gather, embeddings - 1e-9);
  EXPECT_LT(beside.gather, after.gather);
  EXPECT_DOUBLE_EQ(after.compute, 65536 / cluster.tokens_per_second);
  EXPECT_NEAR(beside.compute, after.compute, 1e-12);
}

// Ranks share matrices: what Muon makes its steps of is gathered too, once all gradients are there.
TEST(SimulateStep, MuonGathersTheLayersOnceMore) {
  const Cluster cluster = without_latency();
  config::RunConfig config = reference();
  const StepTimes adamw = simulate_step(step_segments(config, cluster, 16384), cluster, {Schedule::kHalving, 64, 0});
  config.optimizer.muon_learning_rate = 0.02;
  const auto segments = step_segments(config, cluster, 16384);
  for (const Segment& segment : segments)
    EXPECT_EQ(segment.matrices, segment.name.starts_with("layers.") ? 4 : 0) << segment.name;
  const StepTimes after = simulate_step(segments, cluster, {Schedule::kHalving, 64, 0});
  EXPECT_EQ(adamw.directions, 0);
  EXPECT_DOUBLE_EQ(after.directions, adamw.gather) << "one bucket: all of the buffer";
  EXPECT_DOUBLE_EQ(after.total(), adamw.total() + after.directions);
  const StepTimes beside = simulate_step(segments, cluster, {Schedule::kHalving, 64, 1});
  double layers = 0;
  for (const Segment& segment : segments) layers += segment.matrices > 0 ? segment.bytes : 0;
  EXPECT_NEAR(beside.directions, collective_seconds(cluster, Schedule::kHalving, 64, layers), 1e-12);
}

TEST(SimulateStep, OneGpuWaitsForNothing) {
  const Cluster cluster;
  const StepTimes alone =
      simulate_step(step_segments(reference(), cluster, 1024), cluster, {Schedule::kDirect, 1, 4e6});
  EXPECT_EQ(alone.reduce, 0);
  EXPECT_EQ(alone.gather, 0);
}

TEST(SimulationReport, HasARowForEachNumberOfGpus) {
  const std::string text = describe_simulation(reference(), {});
  for (const char* gpus : {"\n      8 ", "\n     64 ", "\n   1024 "}) EXPECT_THAT(text, HasSubstr(gpus));
  EXPECT_THAT(text, Not(HasSubstr("Muon")));
  config::RunConfig config = reference();
  config.optimizer.muon_learning_rate = 0.02;
  EXPECT_THAT(describe_simulation(config, {}), HasSubstr("\nMuon          updates 64 matrices: "));
}

TEST(SimulationReport, NamesTheOptionThatIsWrong) {
  SimulationOptions options;
  options.cluster.gpus_per_node = 6;
  try {
    check(options);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--gpus-per-node is 6; valid: a power of two up to 1024"));
  }
}

}  // namespace
}  // namespace kangpt::tools
