// Whole residuals by kernels for GPUs, emulated: against formulas in fp64 that autograd differentiates, in any order of
// threads and blocks, whatever new memory holds; and networks of them against LibTorch's operators.
#include "operations/fused_residuals.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "model/growing_texts.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "operations/operations.hpp"
#include "tests/model/test_network.hpp"
#include "tests/support/cuda_emulator/emulator.hpp"

namespace kangpt::operations {
namespace {

using config::FeedForward;
using config::Mixer;
using config::Precision;
using model::testing::relative_error;
using Results = std::vector<at::Tensor>;

constexpr SequenceShape kShape = {3, 21};
constexpr std::int64_t kOthers = 1;  // what gradients are added to

// New memory holds what is no number.
class Poison {
 public:
  Poison() {
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setDeterministicFillUninitializedMemory(true);
  }
  ~Poison() { at::globalContext().setDeterministicAlgorithms(false, false); }
  Poison(const Poison&) = delete;
  Poison& operator=(const Poison&) = delete;
};

Parameter parameter(const at::Tensor& value) {
  return {value, at::full_like(value, kOthers)};
}

LayerParameters layer(std::int64_t outputs, std::int64_t inputs) {
  return {parameter(at::randn({outputs, inputs}) / std::sqrt(static_cast<double>(inputs))),
          parameter(at::randn({outputs}))};
}

LayerParameters norm_of(std::int64_t channels) {
  return {parameter(at::randn({channels}) * 0.3 + 1), parameter(at::randn({channels}) * 0.3)};
}

at::Tensor leaf(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).detach().clone().set_requires_grad(true);
}

// The parameters of a residual and their leaves for the oracle, in the same order.
struct Leaves {
  std::vector<Parameter> parameters;
  std::vector<at::Tensor> leaves;

  const at::Tensor& add(const Parameter& one) {
    parameters.push_back(one);
    return leaves.emplace_back(leaf(one.value));
  }
  void clear_gradients() const {
    for (const Parameter& one : parameters) at::Tensor(one.gradient).fill_(kOthers);
  }
};

at::Tensor expected_norm(const at::Tensor& x, const LayerParameters& norm, Leaves& leaves) {
  const at::Tensor centred = x - x.mean(1, true);
  const at::Tensor normal = centred / (centred.square().mean(1, true) + kLayerNormEpsilon).sqrt();
  const at::Tensor weight = leaves.add(norm.weight), bias = leaves.add(norm.bias);
  return normal * weight + bias;
}

at::Tensor expected_kan(const at::Tensor& u, const Parameter& coefficients, Leaves& leaves) {
  const at::Tensor c = leaves.add(coefficients);
  const at::Tensor degrees = at::arange(0, c.size(2), at::kDouble);
  const at::Tensor basis = (at::tanh(u).acos().unsqueeze(2) * degrees).cos();  // [rows, inputs, degree + 1]
  return at::einsum("rid,iod->ro", {basis, c});
}

at::Tensor expected_dense(const at::Tensor& u, const LayerParameters& layer, Leaves& leaves) {
  const at::Tensor weight = leaves.add(layer.weight), bias = leaves.add(layer.bias);
  return u.mm(weight.t()) + bias;
}

at::Tensor expected_attention(const at::Tensor& u, const AttentionParameters& p, HeadShape heads, Leaves& leaves) {
  const auto split = [&](const LayerParameters& projection) {
    return expected_dense(u, projection, leaves)
        .view({kShape.batch, kShape.time, heads.heads, heads.head_dim})
        .transpose(1, 2);
  };
  const at::Tensor query = split(p.query), key = split(p.key), value = split(p.value);
  const at::Tensor scores = query.matmul(key.transpose(2, 3)) / std::sqrt(static_cast<double>(heads.head_dim));
  const at::Tensor future = at::ones({kShape.time, kShape.time}, at::kBool).triu(1);
  const at::Tensor weights = scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(3);
  return expected_dense(weights.matmul(value).transpose(1, 2).reshape({kShape.rows(), -1}), p.output, leaves);
}

class FusedResidualTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override { at::manual_seed(5); }
  ~FusedResidualTest() override { emulator::set_order(0); }

  static double forward_bound() { return GetParam() == Precision::kFp32 ? 1e-5 : 3e-3; }
  static double gradient_bound(double rounded_bound) { return GetParam() == Precision::kFp32 ? 1e-5 : rounded_bound; }

  // f(LN(x)), its gradient with respect to x, and those of the parameters.
  static Results computed(Operations& operations, FusedResidual& residual, const Leaves& leaves, const Results& x_dy) {
    const Poison poison;
    const at::Tensor &x = x_dy[0], &dy = x_dy[1];
    leaves.clear_gradients();
    const at::Tensor out = at::empty_like(x);
    StreamGradient gradient = {dy.clone()};
    KeptTensors kept;
    operations.take_weights();
    residual.forward(x, out, kShape, kept);
    residual.backward(x, gradient, kShape, kept);
    operations.finish_backward();
    EXPECT_TRUE(gradient.is_copied);
    Results results = {out - x, gradient.values - dy};
    for (const Parameter& one : leaves.parameters) results.push_back(one.gradient - kOthers);
    return results;
  }

  struct Case {
    at::Tensor x;         // leaf of `expected`
    at::Tensor expected;  // f(LN(x))
    Leaves leaves;
    double rounded_bound;  // of gradients
  };

  // `make`: the residual of some operations.
  template <class Make>
  static void expect_right(const Case& one, const at::Tensor& x, Make make) {
    const at::Tensor dy = at::randn(x.sizes());
    std::vector<at::Tensor> inputs = one.leaves.leaves;
    inputs.insert(inputs.begin(), one.x);
    Results expected = torch::autograd::grad({one.expected}, inputs, {dy.to(at::kDouble)});
    expected.insert(expected.begin(), one.expected.detach());
    Results before;
    for (const std::uint64_t order : {0U, 1U, 2U}) {
      emulator::set_order(order);
      const std::unique_ptr<Operations> operations = make_cuda_operations(GetParam());
      const std::unique_ptr<FusedResidual> residual = make(*operations);
      ASSERT_TRUE(residual != nullptr && residual->fits(kShape));
      const Results results = computed(*operations, *residual, one.leaves, {x, dy});
      for (std::size_t i = 0; i < results.size(); ++i) {
        const double bound = i == 0 ? forward_bound() : gradient_bound(one.rounded_bound);
        // A key's bias changes nothing: its gradient is as exact as that of x.
        const at::Tensor& scale = expected[i].norm().item<double>() > 1e-9 ? expected[i] : expected[1];
        EXPECT_LT(((results[i] - expected[i]).norm() / scale.norm()).item<double>(), bound) << "result " << i;
        if (order == 0) continue;
        EXPECT_TRUE(at::equal(results[i], before[i])) << "result " << i << " in order " << order;
      }
      before = results;
    }
  }
};

TEST_P(FusedResidualTest, KanIsItsFormulaAndItsGradients) {
  for (const std::int64_t channels : {32, 64, 128}) {
    for (const std::int64_t degree : {1, 8}) {
      SCOPED_TRACE(std::to_string(channels) + " channels, degree " + std::to_string(degree));
      const at::Tensor x = at::randn({kShape.rows(), channels});
      const LayerParameters norm = norm_of(channels);
      const Parameter coefficients = parameter(at::randn({channels, channels, degree + 1}) / channels);
      Case one = {leaf(x), {}, {}, channels < 128 ? 5e-3 : 4e-3};  // fewer average less
      one.expected = expected_kan(expected_norm(one.x, norm, one.leaves), coefficients, one.leaves);
      expect_right(one, x, [&](Operations& operations) { return operations.make_kan_residual(norm, coefficients); });
    }
  }
}

TEST_P(FusedResidualTest, AttentionIsItsFormulaAndItsGradients) {
  constexpr std::int64_t kChannels = 128;
  for (const std::int64_t head_dim : {2, 4, 8, 16, 32}) {
    SCOPED_TRACE(std::to_string(head_dim) + " features of a head");
    const HeadShape heads = {3, head_dim};
    const at::Tensor x = at::randn({kShape.rows(), kChannels});
    const LayerParameters norm = norm_of(kChannels);
    const auto projection = [&] { return layer(heads.features(), kChannels); };
    const AttentionParameters parameters = {projection(), projection(), projection(),
                                            layer(kChannels, heads.features())};
    Case one = {leaf(x), {}, {}, 1.2e-2};  // rounded four times, one after the other
    one.expected = expected_attention(expected_norm(one.x, norm, one.leaves), parameters, heads, one.leaves);
    expect_right(one, x,
                 [&](Operations& operations) { return operations.make_attention_residual(norm, parameters, heads); });
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, FusedResidualTest, ::testing::Values(Precision::kFp32, Precision::kBf16));

TEST(FusedResiduals, AreOnlyWhereKernelsHaveThem) {
  const std::unique_ptr<Operations> operations = make_cuda_operations(Precision::kFp32);
  EXPECT_EQ(operations->make_kan_residual(norm_of(40), parameter(at::randn({40, 40, 3}))), nullptr);
  const auto attention = [&](std::int64_t head_dim) {
    const AttentionParameters p = {layer(head_dim, 32), layer(head_dim, 32), layer(head_dim, 32), layer(32, head_dim)};
    return operations->make_attention_residual(norm_of(32), p, {1, head_dim});
  };
  EXPECT_TRUE(attention(8)->fits({1, 128}));
  EXPECT_FALSE(attention(8)->fits({1, 129}));
  EXPECT_FALSE(attention(7)->fits({1, 12}));
}

// A network of 32 channels, whose KAN and attention residuals are fused; the others stand between them.
config::ModelConfig network_of(FeedForward feed_forward) {
  config::ModelConfig network = model::testing::small_config(feed_forward);
  network.d_model = 32;
  network.layers = 4;
  network.mixers = {Mixer::kAttention, Mixer::kConvMod};
  network.final_norm = true;
  return network;
}

struct LossAndGradient {
  double loss;
  at::Tensor gradients;
};

// Of two passes, of which the second is added to the first.
LossAndGradient trained(const config::ModelConfig& network, Kernels kernels) {
  const base::ParameterTable table = model::parameter_layout(network);
  const at::Tensor parameters = at::zeros({static_cast<std::int64_t>(table.flat_size)});
  const at::Tensor gradients = at::zeros_like(parameters);
  model::testing::fill_weights(table, {parameters.data_ptr<float>(), table.flat_size});
  model::Transformer transformer(network, table, {parameters, gradients, kernels});
  double loss = 0;
  for (const std::int64_t rows : {5, 3}) {
    const model::testing::Batch batch = model::testing::make_batch(network, rows, network.sequence_length);
    const Poison poison;
    loss += transformer.forward(batch.inputs, batch.targets, batch.mask, {.seed = 3, .step = 2}).loss.value();
    transformer.backward();
    parameters.mul_(0.9);  // the next pass takes the weights anew
  }
  return {loss, gradients};
}

TEST(FusedResiduals, NetworksOfThemAreThoseOfLibTorchsOperators) {
  use_cuda_operations();
  for (const FeedForward feed_forward : {FeedForward::kKan, FeedForward::kHybrid, FeedForward::kSwiglu}) {
    for (const double dropout : {0.0, 0.25}) {
      for (const config::Recompute recompute : {config::Recompute::kNone, config::Recompute::kLayers}) {
        config::ModelConfig network = network_of(feed_forward);
        network.dropout = dropout;
        network.recompute = recompute;
        const LossAndGradient expected = trained(network, Kernels::kAten);
        const LossAndGradient fused = trained(network, Kernels::kCuda);
        EXPECT_NEAR(fused.loss, expected.loss, 1e-5 * expected.loss);
        EXPECT_LT(relative_error(fused.gradients, expected.gradients), 1e-5);
      }
    }
  }
}

TEST(FusedResiduals, RoundNoWorseThanTheirStepsOneByOne) {
  use_cuda_operations();
  config::ModelConfig network = network_of(FeedForward::kKan);
  network.mixers = {Mixer::kAttention};
  const LossAndGradient exact = trained(network, Kernels::kAten);
  network.precision = Precision::kBf16;
  const LossAndGradient steps = trained(network, Kernels::kAten);
  const LossAndGradient fused = trained(network, Kernels::kCuda);
  EXPECT_NEAR(fused.loss, exact.loss, 1e-3 * exact.loss);
  EXPECT_LT(relative_error(fused.gradients, exact.gradients), 1.3 * relative_error(steps.gradients, exact.gradients));
}

TEST(FusedResiduals, RecomputedLayersHaveTheSameBits) {
  use_cuda_operations();
  config::ModelConfig network = network_of(FeedForward::kKan);
  network.precision = Precision::kBf16;
  const LossAndGradient kept = trained(network, Kernels::kCuda);
  network.recompute = config::Recompute::kLayers;
  EXPECT_TRUE(at::equal(trained(network, Kernels::kCuda).gradients, kept.gradients));
}

TEST(FusedResiduals, TextsGrowOnWhatTheyKeep) {
  use_cuda_operations();
  config::ModelConfig network = network_of(FeedForward::kKan);
  network.mixers = {Mixer::kAttention};
  const base::ParameterTable table = model::parameter_layout(network);
  const at::Tensor parameters = at::zeros({static_cast<std::int64_t>(table.flat_size)});
  model::testing::fill_weights(table, {parameters.data_ptr<float>(), table.flat_size});
  const auto logits = [&](Kernels kernels) {
    const model::Transformer transformer(network, table, {parameters, {}, kernels});
    model::GrowingTexts growing(transformer, 1, network.sequence_length);
    const at::Tensor first = growing.begin(0, std::vector<std::int64_t>{3, 30, 7}).clone();
    const std::vector<model::GrowingTexts::Addition> addition = {{0, 11}};
    return at::cat({first.view({-1}), growing.add(addition).view({-1})});
  };
  EXPECT_LT(relative_error(logits(Kernels::kCuda), logits(Kernels::kAten)), 1e-5);
}

}  // namespace
}  // namespace kangpt::operations
