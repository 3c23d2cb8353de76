// What every mixer owes, with every feed-forward part.
#include "model/mixers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "model/generation.hpp"
#include "model/initialisation.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using testing::Batch;
using testing::make_batch;
using testing::Network;

constexpr std::int64_t kTime = 6;

config::ModelConfig config_of(Mixer mixer, FeedForward feed_forward) {
  config::ModelConfig config = testing::small_config(feed_forward);
  config.mixer = mixer;
  config.kernel_size = 3;
  config.dilation = {1, 2};
  config.offset_groups = 2;
  config.max_offset = 4.5;
  config.final_norm = true;
  return config;
}

class MixersTest : public ::testing::TestWithParam<std::tuple<Mixer, FeedForward>> {
 protected:
  static config::ModelConfig config() { return config_of(std::get<0>(GetParam()), std::get<1>(GetParam())); }
  static LossSum step(Network& network, const Batch& batch) {
    const LossSum loss = network.transformer.forward(batch.inputs, batch.targets, batch.mask);
    network.transformer.backward();
    return loss;
  }
};

double loss_of(const Network& network, const Batch& batch) {
  return network.transformer.loss(batch.inputs, batch.targets, batch.mask).loss;
}

double numerical_gradient(Network& network, const Batch& batch, std::int64_t element) {
  constexpr double kStep = 2e-5;
  double& value = network.parameters.data_ptr<double>()[element];
  const double saved = value;
  const auto at_distance = [&](double distance) {
    value = saved + distance;
    return loss_of(network, batch);
  };
  const double near = at_distance(kStep) - at_distance(-kStep);
  const double far = at_distance(2 * kStep) - at_distance(-2 * kStep);
  value = saved;
  return (8 * near - far) / (12 * kStep);
}

// The weights of test_network.hpp put no tap of the deformable mixer within a step of a kink.
TEST_P(MixersTest, GradientsEqualFiniteDifferencesInEveryParameter) {
  Network network(config(), at::kDouble);
  const Batch batch = make_batch(network.config, 3, kTime);
  step(network, batch);
  const double* gradient = network.gradients.data_ptr<double>();
  for (const base::ParameterEntry& entry : network.table.entries) {
    const std::uint64_t stride = std::max<std::uint64_t>(1, entry.size / 17);
    for (std::uint64_t index = 0; index < entry.size; index += stride) {
      const auto element = static_cast<std::int64_t>(entry.offset + index);
      const double expected = numerical_gradient(network, batch, element);
      ASSERT_NEAR(gradient[element], expected, 2e-8 + 1e-6 * std::abs(expected)) << entry.name << "[" << index << "]";
    }
  }
}

TEST_P(MixersTest, LogitsDoNotSeeTheFutureInAnyBit) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 2, kTime);
  const at::Tensor before = network.transformer.logits(batch.inputs);
  for (std::int64_t changed = 0; changed < kTime; ++changed) {
    const at::Tensor inputs = batch.inputs.clone();
    inputs.select(1, changed).add_(1).remainder_(network.config.vocabulary_size);
    const at::Tensor after = network.transformer.logits(inputs);
    EXPECT_TRUE(at::equal(before.narrow(1, 0, changed), after.narrow(1, 0, changed))) << "position " << changed;
    EXPECT_FALSE(at::equal(before.select(1, changed), after.select(1, changed)));
    if (changed + 1 == kTime) continue;
    EXPECT_FALSE(at::equal(before.select(1, changed + 1), after.select(1, changed + 1))) << "nothing is mixed";
  }
}

TEST_P(MixersTest, RowsOfABatchAreIndependentInEveryBit) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 4, kTime);
  const at::Tensor before = network.transformer.logits(batch.inputs);
  const at::Tensor inputs = batch.inputs.clone();
  inputs[2].zero_();
  const at::Tensor after = network.transformer.logits(inputs);
  for (const std::int64_t row : {0, 1, 3}) EXPECT_TRUE(at::equal(before[row], after[row])) << "row " << row;
}

TEST_P(MixersTest, MaskedTargetsAndPadsChangeNothing) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 3, kTime);
  const LossSum before = step(network, batch);
  const at::Tensor gradients = network.gradients.clone();
  network.gradients.zero_();
  batch.targets[2].narrow(0, 4, 2).zero_();
  batch.inputs[2].narrow(0, 5, 1).fill_(7);
  EXPECT_EQ(step(network, batch).loss, before.loss);
  EXPECT_TRUE(at::equal(network.gradients, gradients));
}

TEST_P(MixersTest, GradientsAccumulateAndRepeatInEveryBit) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 4, kTime);
  step(network, batch);
  const at::Tensor once = network.gradients.clone();
  network.gradients.zero_();
  step(network, make_batch(network.config, 2, 3));  // another shape in between
  network.gradients.zero_();
  step(network, batch);
  EXPECT_TRUE(at::equal(network.gradients, once));
  step(network, batch);
  EXPECT_LT(testing::relative_error(network.gradients, 2 * once), 1e-6);
}

TEST_P(MixersTest, SinglePrecisionAgreesWithDouble) {
  Network single(config(), at::kFloat);
  Network exact(config(), at::kDouble);
  const Batch batch = make_batch(single.config, 4, kTime);
  EXPECT_NEAR(step(single, batch).loss / step(exact, batch).loss, 1, 1e-6);
  EXPECT_LT(testing::relative_error(single.gradients, exact.gradients), 1e-5);
}

// At their first values all offsets are 0: the gradient there is finite, and only it reaches the offset weights.
TEST_P(MixersTest, LearnsFromItsFirstValues) {
  Network network(config(), at::kFloat);
  initialise(network.config, network.table, 1,
             {network.parameters.data_ptr<float>(), static_cast<std::size_t>(network.parameters.numel())});
  const Batch batch = make_batch(network.config, 4, kTime);
  const double first = step(network, batch).loss;
  ASSERT_TRUE(at::isfinite(network.gradients).all().item<bool>());
  network.parameters.sub_(network.gradients * (1e-3 / network.gradients.norm().item<double>()));
  EXPECT_LT(loss_of(network, batch), first);
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

INSTANTIATE_TEST_SUITE_P(
    AllMixers, MixersTest,
    ::testing::Combine(::testing::Values(Mixer::kAttention, Mixer::kConvMod, Mixer::kConv, Mixer::kDilatedConv,
                                         Mixer::kSeparableConv, Mixer::kDeformableConv),
                       ::testing::Values(FeedForward::kKan, FeedForward::kMlp, FeedForward::kHybrid)));

// What a token can see decides what may change: (kernel_size - 1) * dilation, summed over the layers.
TEST(MixerReach, IsTheSumOverTheLayers) {
  const std::array<std::pair<Mixer, std::int64_t>, 4> reaches = {
      {{Mixer::kConv, 2 + 2}, {Mixer::kDilatedConv, 2 + 4}, {Mixer::kSeparableConv, 4}, {Mixer::kConvMod, 4}}};
  for (const auto& [mixer, reach] : reaches) {
    config::ModelConfig config = config_of(mixer, FeedForward::kMlp);
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
