// What mixers owe beyond what transformer_test.cpp asks of every network: learning from their first values, generation,
// and how far they see.
#include "model/sublayers/mixers.hpp"

#include <gtest/gtest.h>

#include <array>
#include <tuple>

#include "model/generation.hpp"
#include "model/parameters/initialisation.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using testing::Batch;
using testing::make_batch;
using testing::Network;
using testing::small_config;

constexpr std::int64_t kTime = 6;

class MixersTest : public ::testing::TestWithParam<std::tuple<Mixer, FeedForward>> {
 protected:
  static config::ModelConfig config() { return small_config(std::get<1>(GetParam()), std::get<0>(GetParam())); }
};

// At their first values all offsets are 0: the gradient there is finite, and only it reaches the offset weights.
TEST_P(MixersTest, LearnsFromItsFirstValues) {
  Network network(config(), at::kFloat);
  initialise(network.config, network.table, 1,
             {network.parameters.data_ptr<float>(), static_cast<std::size_t>(network.parameters.numel())});
  const Batch batch = make_batch(network.config, 4, kTime);
  const double first = testing::forward_and_backward(network, batch).loss;
  ASSERT_TRUE(at::isfinite(network.gradients).all().item<bool>());
  network.parameters.sub_(network.gradients * (1e-3 / network.gradients.norm().item<double>()));
  EXPECT_LT(network.transformer.loss(batch.inputs, batch.targets, batch.mask).loss, first);
}

TEST_P(MixersTest, GeneratesFromShortAndLongPrompts) {
  Network network(config(), at::kFloat);
  const GenerationOptions greedy = {
      .sampling = {.temperature = 0}, .max_tokens = 9, .window_tokens = kTime, .end_token = {}};
  const auto generated = [&](const std::vector<std::int64_t>& prompt) {
    return generate(network.transformer, prompt, greedy, [](std::int64_t) { return true; });
  };
  EXPECT_EQ(generated({5}).size(), 9U);
  EXPECT_EQ(generated({9, 9, 1, 2, 3, 4, 5, 6}), generated({1, 2, 3, 4, 5, 6}));
}

INSTANTIATE_TEST_SUITE_P(AllMixers, MixersTest,
                         ::testing::Combine(::testing::Values(Mixer::kAttention, Mixer::kConvMod, Mixer::kConv,
                                                              Mixer::kDilatedConv, Mixer::kSeparableConv,
                                                              Mixer::kDeformableConv),
                                            ::testing::ValuesIn(testing::kFeedForwards)));

// What a token can see decides what may change: (kernel_size - 1) * dilation, summed over the layers.
TEST(MixerReach, IsTheSumOverTheLayers) {
  const std::array<std::pair<Mixer, std::int64_t>, 4> reaches = {
      {{Mixer::kConv, 2 + 2}, {Mixer::kDilatedConv, 2 + 4}, {Mixer::kSeparableConv, 4}, {Mixer::kConvMod, 4}}};
  for (const auto& [mixer, reach] : reaches) {
    config::ModelConfig config = small_config(FeedForward::kMlp, mixer);
    config.sequence_length = 12;
    Network network(config, at::kFloat);
    const Batch batch = make_batch(config, 1, 12);
    const at::Tensor before = network.transformer.logits(batch.inputs);
    batch.inputs.select(1, 1).add_(1).remainder_(config.vocabulary_size);
    const at::Tensor after = network.transformer.logits(batch.inputs);
    EXPECT_FALSE(at::equal(before.select(1, 1 + reach), after.select(1, 1 + reach)));
    EXPECT_TRUE(at::equal(before.narrow(1, 2 + reach, 10 - reach), after.narrow(1, 2 + reach, 10 - reach)));
  }
}

}  // namespace
}  // namespace kangpt::model
