#include "training/learning_rate.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "config/configuration.hpp"
#include "model/parameters/parameter_layout.hpp"

namespace kangpt::training {
namespace {

config::OptimizerSection optimizer() {
  return {.learning_rate = 1, .warmup_steps = 10, .minimum_learning_rate = 0.1};
}

TEST(LearningRate, RisesThenStaysOrFallsByHalfACosine) {
  config::OptimizerSection o = optimizer();
  o.schedule = config::Schedule::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 10, 110), 1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 110, 110), 1);
  o.schedule = config::Schedule::kCosine;
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 60, 110), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate(o, 110, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 200, 110), 0.1);
}

TEST(LearningRate, FallsInAStraightLine) {
  config::OptimizerSection o = optimizer();
  o.schedule = config::Schedule::kLinear;
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 10, 110), 1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 35, 110), 0.775);
  EXPECT_DOUBLE_EQ(learning_rate(o, 110, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 200, 110), 0.1);
}

TEST(LearningRate, OfWsdStaysUntilItsDecay) {
  config::OptimizerSection o = optimizer();
  o.schedule = config::Schedule::kWsd;
  o.decay_steps = 20;
  EXPECT_EQ(decay_begin(o, 110), 90U);
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 90, 110), 1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 100, 110), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate(o, 110, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 200, 110), 0.1);
  for (std::uint64_t step = 1; step <= 90; ++step)
    EXPECT_EQ(learning_rate(o, step, 110), learning_rate(o, step, 1000)) << "a longer run";
  o.decay_steps = 0;
  EXPECT_EQ(decay_begin(o, 110), 99U) << "a tenth";
  o.decay_steps = 1000;
  EXPECT_EQ(decay_begin(o, 110), 0U);
  EXPECT_DOUBLE_EQ(learning_rate(o, 10, 110), 1) << "behind the warm-up";
  EXPECT_DOUBLE_EQ(learning_rate(o, 60, 110), 0.55);
  o.schedule = config::Schedule::kCosine;
  EXPECT_EQ(decay_begin(o, 110), 0U);
}

TEST(RateRanges, GiveEachParameterTheFactorOfItsKind) {
  config::ModelConfig model = config::load_configuration("", {}).values.model;
  model.vocabulary_size = 300;
  model.feed_forward = config::FeedForward::kHybrid;
  model.mixers = {config::Mixer::kDeformableConv};
  const base::ParameterTable table = model::parameter_layout(model);
  config::OptimizerSection o = optimizer();
  EXPECT_TRUE(rate_ranges(o, table).empty()) << "factors of 1 leave the update in one piece";
  o.layer_learning_rate_factor = 0.25;
  EXPECT_EQ(rate_ranges(o, table).size(), 1U) << "all layers lie side by side";
  o.kan_learning_rate_factor = 0.5;
  o.offset_learning_rate_factor = 0.0625;
  o.embedding_learning_rate_factor = 8;
  const std::vector<RateRange> rates = rate_ranges(o, table);
  for (const base::ParameterEntry& entry : table.entries) {
    double factor = 1;
    for (const RateRange& rate : rates) {
      const bool is_outside = entry.offset >= rate.end || entry.offset + entry.size <= rate.begin;
      if (is_outside) continue;
      EXPECT_TRUE(entry.offset >= rate.begin && entry.offset + entry.size <= rate.end) << entry.name << " is cut";
      factor *= rate.factor;
    }
    const double of_layers = entry.name.starts_with("layers.") ? 0.25 : 1;
    const double of_kan = entry.name.ends_with("kan.coefficients") ? 0.5 : 1;
    const double of_offsets = entry.name.find("offset_") != std::string::npos ? 0.0625 : 1;
    const double of_embedding = entry.name == "token_embedding.weight" ? 8 : 1;
    EXPECT_EQ(factor, of_layers * of_kan * of_offsets * of_embedding) << entry.name;
  }
  for (std::size_t i = 1; i < rates.size(); ++i) EXPECT_GE(rates[i].begin, rates[i - 1].end) << "not in order";
}

TEST(RateRanges, GiveTheConstantsOfEachKanLayerTheirOwn) {
  config::ModelConfig model = config::load_configuration("", {}).values.model;
  model.kan_degree = 3;
  const base::ParameterTable table = model::parameter_layout(model);
  config::OptimizerSection o = optimizer();
  o.kan_constant_rate_factor = 0.125;
  std::vector<RateRange> rates = rate_ranges(o, table);
  auto rate = rates.begin();
  for (const base::ParameterEntry& entry : table.entries) {
    if (!entry.name.ends_with("kan.coefficients")) continue;
    ASSERT_NE(rate, rates.end());
    EXPECT_EQ(rate->begin, entry.offset) << "a cycle begins with degree 0";
    EXPECT_EQ(rate->end, entry.offset + entry.size);
    EXPECT_EQ(rate->factor, 1);
    EXPECT_EQ(rate->cycle, (std::vector<double>{0.125, 1, 1, 1}));
    ++rate;
  }
  EXPECT_EQ(rate, rates.end()) << "nothing else has a rate of its own";
}

TEST(RateRanges, GiveMuonTheDenseMatricesOfTheLayers) {
  config::ModelConfig model = config::load_configuration("", {}).values.model;
  model.feed_forward = config::FeedForward::kHybrid;
  config::OptimizerSection o = optimizer();
  o.learning_rate = 0.5;
  o.layer_learning_rate_factor = 0.25;
  o.muon_learning_rate = 1;
  for (const config::Mixer mixer : {config::Mixer::kAttention, config::Mixer::kConvMod, config::Mixer::kConv,
                                    config::Mixer::kSeparableConv, config::Mixer::kDeformableConv}) {
    model.mixers = {mixer};
    const base::ParameterTable table = model::parameter_layout(model);
    const std::vector<RateRange> rates = rate_ranges(o, table);
    std::size_t matrices = 0;
    for (const base::ParameterEntry& entry : table.entries) {
      const bool is_dense = entry.name.starts_with("layers.") && entry.shape.size() == 2 &&
                            entry.name.find("depthwise") == std::string::npos &&
                            entry.name.find("offset") == std::string::npos;
      const auto rate = std::ranges::find(rates, entry.offset, &RateRange::begin);
      if (!is_dense) {
        EXPECT_TRUE(rate == rates.end() || rate->rows == 0) << entry.name;
        continue;
      }
      ++matrices;
      ASSERT_NE(rate, rates.end()) << entry.name;
      EXPECT_EQ(rate->end, entry.offset + entry.size);
      EXPECT_EQ(rate->rows, static_cast<std::uint64_t>(entry.shape[0]));
      EXPECT_EQ(rate->factor, 2) << "its own rate, not that of the layers";
    }
    EXPECT_EQ(matrices, static_cast<std::size_t>(std::ranges::count_if(rates, &RateRange::rows)));
    EXPECT_GE(matrices, 16U);
  }
}

TEST(RateRanges, GiveMuonTheMatricesOfEveryFeedForwardPart) {
  config::ModelConfig model = config::load_configuration("", {}).values.model;
  config::OptimizerSection o = optimizer();
  o.muon_learning_rate = 1;
  const std::vector<std::pair<config::FeedForward, std::vector<std::string>>> parts = {
      {config::FeedForward::kSwiglu, {"swiglu.gate.weight", "swiglu.up.weight", "swiglu.down.weight"}},
      {config::FeedForward::kGroupedKan, {"grouped_kan.up.weight", "grouped_kan.down.weight"}},
      {config::FeedForward::kRationalKan, {"rational_kan.up.weight", "rational_kan.down.weight"}}};
  for (const auto& [part, matrices] : parts) {
    model.feed_forward = part;
    const base::ParameterTable table = model::parameter_layout(model);
    const std::vector<RateRange> rates = rate_ranges(o, table);
    std::vector<std::string> found;
    for (const base::ParameterEntry& entry : table.entries) {
      const auto rate = std::ranges::find(rates, entry.offset, &RateRange::begin);
      const bool is_matrix = rate != rates.end() && rate->rows > 0;
      if (is_matrix && entry.name.starts_with("layers.5.") && entry.name.find("attention") == std::string::npos)
        found.push_back(entry.name.substr(std::string("layers.5.").size()));
    }
    EXPECT_EQ(found, matrices) << "coefficients of functions of single numbers are no matrix";
  }
}

}  // namespace
}  // namespace kangpt::training
