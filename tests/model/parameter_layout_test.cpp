#include "model/parameters/parameter_layout.hpp"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "config/layers.hpp"
#include "model/parameters/model_cost.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using config::ModelConfig;

// The network of the reference: 16 layers, 128 wide, 8 heads of 2 features.
ModelConfig reference_model() {
  ModelConfig model;
  model.vocabulary_size = 50257;
  model.sequence_length = 64;
  model.d_model = 128;
  model.layers = 16;
  model.heads = 8;
  model.head_dim = 2;
  model.kernel_size = 11;
  model.dilation = {1};
  model.offset_groups = 4;
  model.max_offset = 16;
  model.kan_degree = 8;
  model.mlp_hidden = 768;
  return model;
}

ModelConfig with(FeedForward feed_forward, Mixer mixer = Mixer::kAttention) {
  ModelConfig model = reference_model();
  model.feed_forward = feed_forward;
  model.mixers = {mixer};
  return model;
}

std::map<std::string, std::vector<std::int64_t>> shapes(const ModelConfig& model) {
  std::map<std::string, std::vector<std::int64_t>> result;
  for (const base::ParameterEntry& entry : parameter_layout(model).entries) result[entry.name] = entry.shape;
  return result;
}

std::uint64_t count_inside_layers(const base::ParameterTable& table) {
  std::uint64_t count = 0;
  for (const base::ParameterEntry& entry : table.entries) {
    if (entry.name.starts_with("layers.")) count += entry.size;
  }
  return count;
}

TEST(ParameterLayout, HasTheParameterCountsOfTheReference) {
  const base::ParameterTable kan = parameter_layout(with(FeedForward::kKan));
  EXPECT_EQ(kan.parameter_count, 15'375'360u);
  EXPECT_EQ(count_inside_layers(kan), 2'501'376u);
  const base::ParameterTable mlp = parameter_layout(with(FeedForward::kMlp));
  EXPECT_EQ(mlp.parameter_count, 16'176'128u);
  EXPECT_EQ(count_inside_layers(mlp), 3'302'144u);
  const base::ParameterTable hybrid = parameter_layout(with(FeedForward::kHybrid));
  EXPECT_EQ(hybrid.parameter_count, 15'775'744u);
  EXPECT_EQ(count_inside_layers(hybrid), 2'901'760u);
}

TEST(HiddenDifference, IsWhatShapesDoNotShow) {
  ModelConfig a = with(FeedForward::kKan), b = a;
  EXPECT_EQ(hidden_difference(a, b), "");
  b.dilation = {2};
  b.max_offset = 17;
  EXPECT_EQ(hidden_difference(a, b), "") << "attention has neither";
  b.heads = 16;
  b.head_dim = 1;
  EXPECT_EQ(hidden_difference(a, b), "model.heads is 8, not 16");
  a.mixers = {Mixer::kConv};
  b.mixers = {Mixer::kDilatedConv};
  b.dilation = {1, 2};
  EXPECT_THAT(hidden_difference(a, b), ::testing::HasSubstr("layer 1 (model.mixer, model.dilation) is 1, not 2"));
  b.dilation = {1};
  EXPECT_EQ(hidden_difference(a, b), "") << "one tap next to the other either way";
  a.mixers = b.mixers = {Mixer::kDeformableConv};
  EXPECT_EQ(hidden_difference(a, b), "model.max_offset is 16, not 17");
}

TEST(ParameterLayout, NamesAndOrdersTheParametersOfALayer) {
  ModelConfig model = with(FeedForward::kHybrid);
  model.layers = 2;
  model.final_norm = true;
  std::vector<std::string> names;
  for (const base::ParameterEntry& entry : parameter_layout(model).entries) names.push_back(entry.name);
  std::vector<std::string> expected = {"token_embedding.weight", "position_embedding.weight"};
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    expected.insert(expected.end(), {layer + "mixer_norm.weight", layer + "mixer_norm.bias"});
    for (const char* part : {"query", "key", "value", "output"}) {
      expected.push_back(layer + "attention." + part + ".weight");
      expected.push_back(layer + "attention." + part + ".bias");
    }
    expected.insert(expected.end(), {layer + "feed_forward_norm.weight", layer + "feed_forward_norm.bias"});
    if (layer == "layers.1.") {
      expected.push_back("layers.1.kan.coefficients");
    } else {
      expected.insert(expected.end(), {"layers.0.mlp.up.weight", "layers.0.mlp.up.bias", "layers.0.mlp.down.weight",
                                       "layers.0.mlp.down.bias"});
    }
  }
  expected.insert(expected.end(), {"final_norm.weight", "final_norm.bias", "head.weight"});
  EXPECT_EQ(names, expected);
}

TEST(ParameterLayout, DenseWeightsAreOutputsByInputs) {
  const auto found = shapes(with(FeedForward::kHybrid));
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(found.at("token_embedding.weight"), (Shape{50257, 128}));
  EXPECT_EQ(found.at("position_embedding.weight"), (Shape{64, 128}));
  EXPECT_EQ(found.at("layers.0.attention.query.weight"), (Shape{16, 128}));
  EXPECT_EQ(found.at("layers.0.attention.query.bias"), (Shape{16}));
  EXPECT_EQ(found.at("layers.0.attention.output.weight"), (Shape{128, 16}));
  EXPECT_EQ(found.at("layers.0.attention.output.bias"), (Shape{128}));
  EXPECT_EQ(found.at("layers.0.mlp.up.weight"), (Shape{768, 128}));
  EXPECT_EQ(found.at("layers.0.mlp.down.weight"), (Shape{128, 768}));
  EXPECT_EQ(found.at("layers.1.kan.coefficients"), (Shape{128, 128, 9}));
  EXPECT_EQ(found.at("head.weight"), (Shape{50257, 128}));
  EXPECT_FALSE(found.contains("final_norm.weight"));
}

TEST(ParameterLayout, KnowsTheConvolutionalMixers) {
  using Shape = std::vector<std::int64_t>;
  const auto conv = shapes(with(FeedForward::kKan, Mixer::kConv));
  EXPECT_EQ(conv.at("layers.3.conv.weight"), (Shape{128, 128, 11}));
  EXPECT_EQ(conv.at("layers.3.conv.bias"), (Shape{128}));
  EXPECT_EQ(conv, shapes(with(FeedForward::kKan, Mixer::kDilatedConv)));
  const auto separable = shapes(with(FeedForward::kKan, Mixer::kSeparableConv));
  EXPECT_EQ(separable.at("layers.3.separable.depthwise.weight"), (Shape{128, 11}));
  EXPECT_EQ(separable.at("layers.3.separable.pointwise.weight"), (Shape{128, 128}));
  const auto convmod = shapes(with(FeedForward::kKan, Mixer::kConvMod));
  EXPECT_EQ(convmod.at("layers.3.convmod.gate.weight"), (Shape{128, 128}));
  EXPECT_EQ(convmod.at("layers.3.convmod.depthwise.bias"), (Shape{128}));
  const auto deformable = shapes(with(FeedForward::kKan, Mixer::kDeformableConv));
  EXPECT_EQ(deformable.at("layers.3.deformable.offset_pointwise.weight"), (Shape{2 * 4 * 11, 128}));
  EXPECT_EQ(deformable.at("layers.3.deformable.offset_pointwise.bias"), (Shape{2 * 4 * 11}));
  EXPECT_FALSE(deformable.contains("layers.3.attention.query.weight"));
}

TEST(ParameterLayout, KnowsTheOtherFeedForwardParts) {
  using Shape = std::vector<std::int64_t>;
  const auto swiglu = shapes(with(FeedForward::kSwiglu));
  EXPECT_EQ(swiglu.at("layers.3.swiglu.gate.weight"), (Shape{768, 128}));
  EXPECT_EQ(swiglu.at("layers.3.swiglu.up.weight"), (Shape{768, 128}));
  EXPECT_EQ(swiglu.at("layers.3.swiglu.down.weight"), (Shape{128, 768}));
  EXPECT_FALSE(swiglu.contains("layers.3.swiglu.up.bias")) << "it has none";
  ModelConfig model = with(FeedForward::kGroupedKan);
  model.kan_groups = 4;
  const auto grouped = shapes(model);
  EXPECT_EQ(grouped.at("layers.3.grouped_kan.input.coefficients"), (Shape{4, 9}));
  EXPECT_EQ(grouped.at("layers.3.grouped_kan.hidden.coefficients"), (Shape{4, 9}));
  EXPECT_EQ(grouped.at("layers.3.grouped_kan.up.weight"), (Shape{768, 128}));
  EXPECT_EQ(grouped.at("layers.3.grouped_kan.up.bias"), (Shape{768}));
  EXPECT_EQ(grouped.at("layers.3.grouped_kan.down.weight"), (Shape{128, 768}));
  const auto rational = shapes(with(FeedForward::kRationalKan));
  EXPECT_EQ(rational.at("layers.3.rational_kan.input.numerator"), (Shape{8, 6}));
  EXPECT_EQ(rational.at("layers.3.rational_kan.hidden.denominator"), (Shape{8, 4}));
  EXPECT_EQ(rational.at("layers.3.rational_kan.down.bias"), (Shape{128}));
}

TEST(ParameterLayout, GroupsAreUpToEightWhereTheyAreLeftOpen) {
  ModelConfig model = with(FeedForward::kRationalKan);
  EXPECT_EQ(config::function_groups(model), 8);
  model.mlp_hidden = 12;
  EXPECT_EQ(config::function_groups(model), 4);
  model.mlp_hidden = 573;
  EXPECT_EQ(config::function_groups(model), 1);
}

TEST(ParameterLayout, MixersAreCycledOverTheLayers) {
  ModelConfig model = with(FeedForward::kMlp);
  model.mixers = {Mixer::kAttention, Mixer::kConvMod, Mixer::kSeparableConv};
  const auto found = shapes(model);
  for (int layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    EXPECT_EQ(found.contains(prefix + "attention.query.weight"), layer % 3 == 0);
    EXPECT_EQ(found.contains(prefix + "convmod.gate.weight"), layer % 3 == 1);
    EXPECT_EQ(found.contains(prefix + "separable.depthwise.weight"), layer % 3 == 2);
  }
}

// For every mixer and feed-forward part, with extents that no alignment divides.
TEST(ParameterLayout, EntriesAreAlignedDisjointAndUnique) {
  for (int choice = 0; choice < 36; ++choice) {
    ModelConfig model = with(static_cast<FeedForward>(choice % 6), static_cast<Mixer>(choice / 6));
    model.vocabulary_size = 101;
    model.d_model = 21;
    model.heads = 3;
    model.mlp_hidden = 7;
    const base::ParameterTable table = parameter_layout(model);
    std::set<std::string> names;
    std::uint64_t end = 0;
    std::uint64_t count = 0;
    for (const base::ParameterEntry& entry : table.entries) {
      EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
      EXPECT_EQ(entry.offset % 16, 0u) << entry.name;
      EXPECT_GE(entry.offset, end) << entry.name;
      EXPECT_LT(entry.offset, end + 16) << entry.name;
      std::uint64_t product = 1;
      for (const std::int64_t extent : entry.shape) product *= static_cast<std::uint64_t>(extent);
      EXPECT_EQ(entry.size, product) << entry.name;
      end = entry.offset + entry.size;
      count += entry.size;
    }
    EXPECT_EQ(table.flat_size, end);
    EXPECT_EQ(table.parameter_count, count);
  }
}

TEST(ModelCost, OfLayersAddsUp) {
  ModelConfig model = with(FeedForward::kHybrid);
  model.mixers = {Mixer::kAttention, Mixer::kConv};
  const TokenFlops whole = flops_per_token(model);
  const TokenFlops attention = layer_flops_per_token(model, 2), convolution = layer_flops_per_token(model, 3);
  EXPECT_DOUBLE_EQ(convolution.mixer, 6.0 * 128 * 128 * 11);
  EXPECT_DOUBLE_EQ(whole.mixer, 8 * (attention.mixer + convolution.mixer));
  EXPECT_DOUBLE_EQ(whole.feed_forward, 8 * (attention.feed_forward + convolution.feed_forward));
}

// Hand-counted: 6 FLOP a weight of each product, and 6 * 2 * 16 * 64 for scores and weighted sum.
TEST(ModelCost, CountsTheReferenceNetwork) {
  const TokenFlops flops = flops_per_token(with(FeedForward::kKan));
  EXPECT_DOUBLE_EQ(flops.head, 6.0 * 50257 * 128);
  EXPECT_DOUBLE_EQ(flops.feed_forward, 16 * 6.0 * 128 * 128 * 9);
  EXPECT_DOUBLE_EQ(flops.mixer, 16 * (6.0 * 4 * 128 * 16 + 6.0 * 2 * 16 * 64));
  EXPECT_NEAR(flops.total() / 1e6, 53.7, 0.05);
}

// Each product of an MLP or a plain convolution uses each of its weights once a token.
TEST(ModelCost, IsSixTimesTheWeightsOfPlainProducts) {
  for (const auto& [mixer, part] : {std::pair{Mixer::kConv, FeedForward::kMlp},
                                    {Mixer::kSeparableConv, FeedForward::kSwiglu},
                                    {Mixer::kConvMod, FeedForward::kRationalKan}}) {
    const ModelConfig model = with(part, mixer);
    double mixer_weights = 0;
    double feed_forward_weights = 0;
    for (const base::ParameterEntry& entry : parameter_layout(model).entries) {
      if (entry.shape.size() < 2 || !entry.name.starts_with("layers.") || !entry.name.ends_with(".weight")) continue;
      const bool is_feed_forward = entry.name.find(".mlp.") != std::string::npos ||
                                   entry.name.find(".swiglu.") != std::string::npos ||
                                   entry.name.find("_kan.") != std::string::npos;
      (is_feed_forward ? feed_forward_weights : mixer_weights) += static_cast<double>(entry.size);
    }
    EXPECT_DOUBLE_EQ(flops_per_token(model).mixer, 6 * mixer_weights);
    EXPECT_DOUBLE_EQ(flops_per_token(model).feed_forward, 6 * feed_forward_weights);
  }
}

}  // namespace
}  // namespace kangpt::model
