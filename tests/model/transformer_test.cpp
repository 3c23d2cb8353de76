#include "model/transformer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <tuple>

#include "base/error.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using testing::Batch;
using testing::forward_and_backward;
using testing::make_batch;
using testing::Network;
using testing::small_config;

constexpr std::int64_t kTime = 6;

// Every mixer with every feed-forward part, with and without the final norm.
class TransformerTest : public ::testing::TestWithParam<std::tuple<Mixer, FeedForward, bool>> {
 protected:
  static config::ModelConfig config() {
    config::ModelConfig config = small_config(std::get<1>(GetParam()), std::get<0>(GetParam()));
    config.final_norm = std::get<2>(GetParam());
    return config;
  }
};

double loss_of(const Network& network, const Batch& batch) {
  return network.transformer.loss(batch.inputs, batch.targets, batch.mask).loss;
}

// Difference quotient of fourth order of `loss` with respect to one element of the flat parameters. The step is small
// so that no kink of a rational function (1 + |b_1 x + ...|) lies within it.
double numerical_gradient(Network& network, std::int64_t element, const std::function<double()>& loss) {
  constexpr double kStep = 1e-5;
  double& value = network.parameters.data_ptr<double>()[element];
  const double saved = value;
  const auto at_distance = [&](double distance) {
    value = saved + distance;
    return loss();
  };
  const double near = at_distance(kStep) - at_distance(-kStep);
  const double far = at_distance(2 * kStep) - at_distance(-2 * kStep);
  value = saved;
  return (8 * near - far) / (12 * kStep);
}

// The weights of test_network.hpp put no tap of the deformable mixer within a step of a kink.
TEST_P(TransformerTest, GradientsEqualFiniteDifferencesInEveryParameter) {
  Network network(config(), at::kDouble);
  const Batch batch = make_batch(network.config, 4, kTime);
  forward_and_backward(network, batch);
  const double* gradient = network.gradients.data_ptr<double>();
  for (const base::ParameterEntry& entry : network.table.entries) {
    const std::uint64_t stride = std::max<std::uint64_t>(1, entry.size / 17);
    for (std::uint64_t index = 0; index < entry.size; index += stride) {
      const auto element = static_cast<std::int64_t>(entry.offset + index);
      const double expected = numerical_gradient(network, element, [&] { return loss_of(network, batch); });
      ASSERT_NEAR(gradient[element], expected, 2e-8 + 1e-6 * std::abs(expected)) << entry.name << "[" << index << "]";
    }
  }
}

// The loss of one training pass is a function of the parameters like any other while the pass's position stays.
TEST_P(TransformerTest, GradientsWithDropoutEqualFiniteDifferences) {
  config::ModelConfig dropping = config();
  dropping.dropout = 0.25;
  Network network(dropping, at::kDouble);
  const Batch batch = make_batch(network.config, 4, kTime);
  const PassPosition position = {.seed = 5, .step = 9, .first_sequence = 12};
  const auto training_loss = [&] {
    return network.transformer.forward(batch.inputs, batch.targets, batch.mask, position).loss.value();
  };
  training_loss();
  network.transformer.backward();
  const at::Tensor gradients = network.gradients.clone();
  for (const base::ParameterEntry& entry : network.table.entries) {
    const auto element = static_cast<std::int64_t>(entry.offset + entry.size / 2);
    const double expected = numerical_gradient(network, element, training_loss);
    const double found = gradients[element].item<double>();
    ASSERT_NEAR(found, expected, 2e-8 + 1e-6 * std::abs(expected)) << entry.name;
  }
}

// Cut into passes of other sizes, the batch has the same gradient; another step, another one. What only reads the
// network knows no dropout.
TEST_P(TransformerTest, DropoutGoesByThePlaceInTheBatchAlone) {
  config::ModelConfig dropping = config();
  dropping.dropout = 0.5;
  Network network(dropping, at::kDouble);
  const Network plain(config(), at::kDouble);
  const Batch batch = make_batch(network.config, 4, kTime);
  const auto gradients_of = [&](std::int64_t sequences, std::uint64_t step) {
    network.gradients.zero_();
    for (std::int64_t first = 0; first < 4; first += sequences) {
      network.transformer.forward(batch.inputs.narrow(0, first, sequences).contiguous(),
                                  batch.targets.narrow(0, first, sequences).contiguous(),
                                  batch.mask.narrow(0, first, sequences).contiguous(),
                                  {.seed = 1, .step = step, .first_sequence = static_cast<std::uint64_t>(first)});
      network.transformer.backward();
    }
    return network.gradients.clone();
  };
  const at::Tensor whole = gradients_of(4, 1);
  EXPECT_LT(testing::relative_error(gradients_of(1, 1), whole), 1e-12);
  EXPECT_GT(testing::relative_error(gradients_of(4, 2), whole), 1e-2);
  EXPECT_EQ(loss_of(network, batch), loss_of(plain, batch));
  EXPECT_TRUE(at::equal(network.transformer.logits(batch.inputs), plain.transformer.logits(batch.inputs)));
}

TEST_P(TransformerTest, LossIsTheMaskedCrossEntropyOfTheLogits) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 4, 5);
  const at::Tensor logits = network.transformer.logits(batch.inputs);
  EXPECT_LT(testing::relative_error(network.transformer.next_logits(batch.inputs, network.transformer.make_past(1, 1)),
                                    logits.select(1, -1)),
            1e-6);
  const at::Tensor log_probabilities = at::log_softmax(logits.to(at::kDouble), 2);
  const at::Tensor chosen = log_probabilities.gather(2, batch.targets.unsqueeze(2)).squeeze(2);
  const double expected = -(chosen * batch.mask).sum().item<double>();
  const operations::LossSum loss = forward_and_backward(network, batch);
  EXPECT_NEAR(loss.loss / loss.tokens, expected / loss.tokens, 1e-6);
  EXPECT_EQ(loss.tokens, batch.mask.sum().item<double>());
  EXPECT_EQ(loss_of(network, batch), loss.loss);
}

TEST_P(TransformerTest, LogitsDoNotSeeTheFutureInAnyBit) {
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

TEST_P(TransformerTest, RowsOfABatchAreIndependentInEveryBit) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 4, kTime);
  const at::Tensor before = network.transformer.logits(batch.inputs);
  const at::Tensor inputs = batch.inputs.clone();
  inputs[2].zero_();
  const at::Tensor after = network.transformer.logits(inputs);
  for (const std::int64_t row : {0, 1, 3}) EXPECT_TRUE(at::equal(before[row], after[row])) << "row " << row;
}

TEST_P(TransformerTest, MaskedTargetsAndPadsChangeNothing) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 3, kTime);
  const operations::LossSum before = forward_and_backward(network, batch);
  const at::Tensor gradients = network.gradients.clone();
  network.gradients.zero_();
  batch.targets[2].narrow(0, 4, 2).zero_();
  batch.inputs[2].narrow(0, 5, 1).fill_(7);
  EXPECT_EQ(forward_and_backward(network, batch).loss, before.loss);
  EXPECT_TRUE(at::equal(network.gradients, gradients));
}

TEST_P(TransformerTest, GradientsAccumulateAndRepeatInEveryBit) {
  Network network(config(), at::kFloat);
  const Batch batch = make_batch(network.config, 4, kTime);
  forward_and_backward(network, batch);
  const at::Tensor once = network.gradients.clone();
  network.gradients.zero_();
  forward_and_backward(network, make_batch(network.config, 2, 3));  // another shape in between
  network.gradients.zero_();
  forward_and_backward(network, batch);
  EXPECT_TRUE(at::equal(network.gradients, once));
  forward_and_backward(network, batch);
  EXPECT_LT(testing::relative_error(network.gradients, 2 * once), 1e-6);
}

TEST_P(TransformerTest, RecomputedLayersGiveTheSameBits) {
  config::ModelConfig deep = config();
  deep.layers = 4;
  for (const config::Precision precision : {config::Precision::kFp32, config::Precision::kBf16}) {
    deep.precision = precision;
    deep.recompute = config::Recompute::kNone;
    Network kept(deep, at::kFloat);
    deep.recompute = config::Recompute::kLayers;
    Network recomputed(deep, at::kFloat);
    for (const std::int64_t time : {kTime, std::int64_t{3}}) {
      const Batch batch = make_batch(deep, 4, time);
      EXPECT_EQ(forward_and_backward(recomputed, batch).loss, forward_and_backward(kept, batch).loss);
      EXPECT_TRUE(at::equal(recomputed.gradients, kept.gradients)) << "rows of " << time;
    }
  }
}

TEST_P(TransformerTest, SinglePrecisionAgreesWithDouble) {
  Network single(config(), at::kFloat);
  Network exact(config(), at::kDouble);
  const Batch batch = make_batch(single.config, 4, kTime);
  EXPECT_NEAR(forward_and_backward(single, batch).loss / forward_and_backward(exact, batch).loss, 1, 1e-6);
  EXPECT_LT(testing::relative_error(single.gradients, exact.gradients), 1e-5);
}

TEST_P(TransformerTest, GapsOfTheFlatBufferStayZero) {
  Network network(config(), at::kFloat);
  forward_and_backward(network, make_batch(network.config, 4, kTime));
  for (const base::ParameterEntry& entry : network.table.entries) network.gradient(entry.name).zero_();
  EXPECT_EQ(network.gradients.abs().max().item<float>(), 0);
}

INSTANTIATE_TEST_SUITE_P(AllNetworks, TransformerTest,
                         ::testing::Combine(::testing::Values(Mixer::kAttention, Mixer::kConvMod, Mixer::kConv,
                                                              Mixer::kDilatedConv, Mixer::kSeparableConv,
                                                              Mixer::kDeformableConv),
                                            ::testing::ValuesIn(testing::kFeedForwards), ::testing::Bool()));

// Layers 0 and 2 attend, 1 and 3 convolve, with the dilation of their own place.
TEST(MixersInTurns, EachLayerHasItsOwn) {
  config::ModelConfig config = small_config(FeedForward::kMlp);
  config.layers = 4;
  config.mixers = {Mixer::kAttention, Mixer::kDilatedConv};
  config.dilation = {1, 1, 1, 2};
  Network network(config, at::kFloat);
  const Batch batch = make_batch(config, 2, kTime);
  forward_and_backward(network, batch);
  EXPECT_GT(network.gradient("layers.2.attention.value.weight").norm().item<double>(), 0);
  EXPECT_GT(network.gradient("layers.3.conv.weight").norm().item<double>(), 0);
  const at::Tensor together = network.transformer.logits(batch.inputs);
  for (const char* const layer : {"layers.0.", "layers.2."}) {
    network.value(layer + std::string("attention.output.weight")).zero_();
  }
  const at::Tensor before = network.transformer.logits(batch.inputs);
  EXPECT_FALSE(at::equal(before, together));
  batch.inputs.select(1, 0).add_(1).remainder_(config.vocabulary_size);
  const at::Tensor after = network.transformer.logits(batch.inputs);
  EXPECT_FALSE(at::equal(before.select(1, 5), after.select(1, 5))) << "two convolutions reach 2 and 4 back";
  for (const char* const layer : {"layers.1.", "layers.3."}) network.value(layer + std::string("conv.weight")).zero_();
  const at::Tensor blind = network.transformer.logits(batch.inputs);
  batch.inputs.select(1, 0).add_(1).remainder_(config.vocabulary_size);
  EXPECT_TRUE(at::equal(blind.narrow(1, 1, 5), network.transformer.logits(batch.inputs).narrow(1, 1, 5)));
}

TEST(TransformerErrors, WrongIdsAndShapesAreRefused) {
  Network network(small_config(FeedForward::kKan), at::kFloat);
  const Batch batch = make_batch(network.config, 2, kTime);
  EXPECT_THROW(network.transformer.logits(batch.inputs + 37), DataError);
  EXPECT_THROW(network.transformer.logits(batch.inputs - 37), DataError);
  EXPECT_THROW(network.transformer.logits(at::zeros({1, 7}, at::kLong)), InternalError);
  EXPECT_THROW(network.transformer.forward(batch.inputs, batch.targets.narrow(0, 0, 1), batch.mask), InternalError);
  EXPECT_THROW(network.transformer.backward(), InternalError);
}

TEST(TransformerErrors, WithoutGradientsThereIsInferenceAlone) {
  Network network(small_config(FeedForward::kKan), at::kFloat);
  Transformer reader(network.config, network.table, {network.parameters, {}});
  const Batch batch = make_batch(network.config, 2, kTime);
  EXPECT_TRUE(at::equal(reader.logits(batch.inputs), network.transformer.logits(batch.inputs)));
  EXPECT_THROW(reader.forward(batch.inputs, batch.targets, batch.mask), InternalError);
}

}  // namespace
}  // namespace kangpt::model
