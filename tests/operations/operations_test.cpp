// The implementations of Operations against formulas in fp64 that autograd differentiates. Built three times: for the
// CPU; with the kernels for GPUs, emulated; and for a GPU (skipped where there is none).
#include "operations/operations.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <tuple>

#include "base/processor/processor.hpp"
#include "operations/matrix_rate.hpp"
#include "tests/model/test_network.hpp"
#include "tests/operations/tested_kernels.hpp"

namespace kangpt::operations {
namespace {

using model::testing::relative_error;
using testing::gradients;
using testing::leaf;

constexpr std::int64_t kRows = 300;
constexpr std::int64_t kChannels = 128;
constexpr std::int64_t kDegree = 8;
constexpr double kBfloat16AttentionBound = 1e-2;  // with scores of 4 and more
constexpr double kBfloat16Bound = 3e-3;           // of one product of matrices with normal elements

enum class Kind { kAten, kAtenBfloat16, kCpu, kCpuBfloat16, kCuda, kCudaBfloat16 };

#ifdef KANGPT_TEST_ON_GPU
constexpr at::DeviceType kDevice = at::kCUDA;
#else
constexpr at::DeviceType kDevice = at::kCPU;
#endif

at::TensorOptions on_device(at::ScalarType type) {
  return at::TensorOptions(type).device(kDevice);
}

class OperationsTest : public ::testing::TestWithParam<std::tuple<Kind, at::ScalarType>> {
 protected:
  void SetUp() override {
    if (kDevice == at::kCUDA && !at::hasCUDA()) GTEST_SKIP() << "there is no GPU here";
    if (kind() == Kind::kCpuBfloat16 && base::bfloat16_products() == base::Bfloat16Products::kNone) {
      GTEST_SKIP() << "this processor has neither AVX512-BF16 nor AMX";
    }
    at::manual_seed(3);
  }

  at::Tensor random(at::IntArrayRef sizes) const { return at::randn(sizes, on_device(dtype())); }
  at::Tensor empty(at::IntArrayRef sizes) const {
    return at::full(sizes, std::numeric_limits<double>::quiet_NaN(), on_device(dtype()));
  }
  Parameter parameter(const at::Tensor& value) const { return {value, at::ones_like(value)}; }
  static at::ScalarType dtype() { return std::get<1>(GetParam()); }
  // Matrix products round their operands to bfloat16.
  static bool rounds() {
    return kind() == Kind::kAtenBfloat16 || kind() == Kind::kCpuBfloat16 || kind() == Kind::kCudaBfloat16;
  }
  static Kind kind() { return std::get<0>(GetParam()); }
  static void expect_close(const at::Tensor& actual, const at::Tensor& expected, const char* what) {
    EXPECT_LT(relative_error(actual, expected.detach()), dtype() == at::kDouble ? 1e-12 : 1e-5) << what;
  }
  // What comes out of matrix products.
  static void expect_product_close(const at::Tensor& actual, const at::Tensor& expected, const char* what) {
    if (!rounds()) return expect_close(actual, expected, what);
    EXPECT_LT(relative_error(actual, expected.detach()), kBfloat16Bound) << what;
  }

  // What own kernels for GPUs leave to LibTorch is computed in bfloat16 throughout.
  static double attention_bound(HeadShape heads, SequenceShape shape) {
    const bool is_own =
        shape.time <= 128 && heads.head_dim <= 32 && std::has_single_bit(static_cast<std::uint64_t>(heads.head_dim));
    if (kind() == Kind::kCudaBfloat16 && !is_own) return kBfloat16AttentionBound;
    return dtype() == at::kDouble ? 1e-12 : 1e-5;
  }

  static std::unique_ptr<Operations> make() {
    const config::Precision precision = rounds() ? config::Precision::kBf16 : config::Precision::kFp32;
#if defined(KANGPT_TEST_ON_GPU) || defined(KANGPT_TEST_EMULATED)
    if (kind() == Kind::kCuda || kind() == Kind::kCudaBfloat16) return make_cuda_operations(precision);
#endif
    const bool is_aten = kind() == Kind::kAten || kind() == Kind::kAtenBfloat16;
    return is_aten ? make_aten_operations(precision) : make_cpu_operations(precision);
  }

  std::unique_ptr<Operations> operations_ = make();
};

TEST_P(OperationsTest, ProductsTakeTransposedViewsAndOddSizes) {
  const at::Tensor a = random({130, 71});
  const at::Tensor b = random({71, 201});
  const at::Tensor expected = a.to(at::kDouble).mm(b.to(at::kDouble));
  for (const at::Tensor& left : {a, a.t().contiguous().t()}) {
    for (const at::Tensor& right : {b, b.t().contiguous().t()}) {
      const at::Tensor c = empty({130, 201});
      operations_->multiply(left, right, c);
      expect_product_close(c, expected, "product");
      operations_->multiply_add(left, right, c);
      expect_product_close(c, 2 * expected, "sum of products");
    }
  }
}

TEST_P(OperationsTest, LayerNorm) {
  const at::Tensor x = random({kRows, kChannels}) * 3 + 1;
  const LayerParameters norm = {parameter(random({kChannels})), parameter(random({kChannels}))};
  const at::Tensor u = empty({kRows, kChannels});
  const at::Tensor statistics = empty({2, kRows});
  operations_->layer_norm(x, norm, u, statistics);
  const std::vector<at::Tensor> inputs = {leaf(x), leaf(norm.weight.value), leaf(norm.bias.value)};
  const at::Tensor centred = inputs[0] - inputs[0].mean(1, true);
  const at::Tensor expected =
      centred / (centred.square().mean(1, true) + kLayerNormEpsilon).sqrt() * inputs[1] + inputs[2];
  expect_close(u, expected, "forward");
  const at::Tensor du = random({kRows, kChannels});
  const at::Tensor dx = at::ones_like(x);
  operations_->layer_norm_backward({x, statistics, du, dx}, norm);
  const std::vector<at::Tensor> derivative = gradients(expected, inputs, du);
  expect_close(dx, derivative[0] + 1, "dx, added");
  expect_close(norm.weight.gradient, derivative[1] + 1, "dweight, added");
  expect_close(norm.bias.gradient, derivative[2] + 1, "dbias, added");
}

TEST_P(OperationsTest, ChebyshevBasisIsCosineOfMultiplesOfTheAngle) {
  const at::Tensor u = random({kRows, kChannels});
  const at::Tensor basis = empty({kRows, kDegree * kChannels});
  operations_->chebyshev_basis(u, basis);
  const at::Tensor input = leaf(u);
  const at::Tensor degrees = at::arange(1, kDegree + 1, on_device(at::kDouble)).view({1, kDegree, 1});
  const at::Tensor expected = (at::tanh(input).acos().unsqueeze(1) * degrees).cos().reshape(basis.sizes());
  expect_close(basis, expected, "forward");
  const at::Tensor dbasis = random(basis.sizes());
  const at::Tensor du = empty(u.sizes());
  operations_->chebyshev_backward(basis, dbasis, du);
  expect_close(du, gradients(expected, {input}, dbasis)[0], "backward");
}

// |T_d| <= 1, and d T_d(tanh u) / du = d sin(d angle) sin(angle), so at most d in size: also far out, up to degree 16.
TEST_P(OperationsTest, ChebyshevKeepsItsBoundsUpToDegree16AndInputsOf10000) {
  const at::Tensor sizes = at::logspace(-30, 4, 69, 10, on_device(dtype()));
  const at::Tensor near = at::linspace(-12, 12, 118, on_device(dtype()));
  const at::Tensor u = at::cat({-sizes, near, sizes}).unsqueeze(0);
  const at::Tensor angle = at::tanh(u.to(at::kDouble)).acos();
  const double tolerance = dtype() == at::kDouble ? 1e-12 : 1e-5;
  for (const std::int64_t degree : {1, 2, 3, 8, 16}) {
    const auto d = static_cast<double>(degree);
    const at::Tensor basis = empty({1, degree * u.numel()});
    operations_->chebyshev_basis(u, basis);
    const at::Tensor last = basis.narrow(1, (degree - 1) * u.numel(), u.numel());
    EXPECT_LE(last.abs().max().item<double>(), 1 + tolerance) << "degree " << degree;
    EXPECT_LT((last - (d * angle).cos()).abs().max().item<double>(), d * d * tolerance);
    const at::Tensor dbasis = at::zeros_like(basis);
    dbasis.narrow(1, (degree - 1) * u.numel(), u.numel()).fill_(1);
    const at::Tensor du = empty(u.sizes());
    operations_->chebyshev_backward(basis, dbasis, du);
    EXPECT_LE(du.abs().max().item<double>(), d * (1 + tolerance)) << "degree " << degree;
    const at::Tensor expected = d * (d * angle).sin() * angle.sin();
    EXPECT_LT((du - expected).abs().max().item<double>(), d * d * d * tolerance) << "degree " << degree;
    EXPECT_LT(du.abs().narrow(1, u.numel() - 6, 6).max().item<double>(), 1e-3) << "tanh is flat there";
  }
}

TEST_P(OperationsTest, CoefficientsArePackedByDegreeAndTheirGradientUnpacked) {
  constexpr std::int64_t kOutputs = 24;
  const at::Tensor coefficients = random({kChannels, kOutputs, kDegree + 1});
  const at::Tensor packed = empty({kDegree * kChannels, kOutputs});
  const at::Tensor bias = empty({kOutputs});
  operations_->pack_coefficients(coefficients, packed, bias);
  EXPECT_TRUE(at::equal(packed.view({kDegree, kChannels, kOutputs})[2], coefficients.select(2, 3)));
  expect_close(bias, coefficients.to(at::kDouble).select(2, 0).sum(0), "bias");
  const at::Tensor dpacked = random({kOutputs, kDegree * kChannels});
  const at::Tensor dbias = random({kOutputs});
  const at::Tensor gradient = at::ones_like(coefficients);
  operations_->add_coefficient_gradient(dpacked, dbias, gradient);
  EXPECT_TRUE(at::equal(gradient.select(2, 3), dpacked.view({kOutputs, kDegree, kChannels}).select(1, 2).t() + 1));
  EXPECT_TRUE(at::equal(gradient.select(2, 0), (dbias + 1).expand({kChannels, kOutputs})));
}

struct AttentionCase {
  HeadShape heads;
  SequenceShape shape;
};

// Narrow heads of short sequences, and what tiles of 64 times compute: one tile, several, and a last one of any size.
std::vector<AttentionCase> attention_cases() {
  return {{{8, 2}, {3, 23}},   {{8, 2}, {3, 37}},   {{3, 5}, {2, 30}},  {{3, 5}, {3, 37}},
          {{2, 16}, {3, 37}},  {{1, 16}, {2, 1}},   {{2, 64}, {1, 64}}, {{3, 17}, {1, 65}},
          {{2, 33}, {1, 130}}, {{1, 80}, {1, 193}}, {{5, 8}, {1, 200}}, {{2, 130}, {1, 81}}};
}

TEST_P(OperationsTest, Attention) {
  for (const auto& [heads, shape] : attention_cases()) {
    SCOPED_TRACE(std::to_string(heads.heads) + " heads of " + std::to_string(heads.head_dim) + ", time " +
                 std::to_string(shape.time));
    const at::Tensor qkv = random({shape.rows(), 3 * heads.features()}) * 2;
    const at::Tensor context = empty({shape.rows(), heads.features()});
    const at::Tensor log_sums = empty({shape.batch, heads.heads, shape.time});
    operations_->attention(qkv, shape, heads, {context, log_sums});
    const at::Tensor input = leaf(qkv);
    const at::Tensor parts =
        input.view({shape.batch, shape.time, 3, heads.heads, heads.head_dim}).permute({2, 0, 3, 1, 4});
    const at::Tensor scores = parts[0].matmul(parts[1].transpose(2, 3)) / std::sqrt(heads.head_dim);
    const at::Tensor future = at::ones({shape.time, shape.time}, on_device(at::kBool)).triu(1);
    const at::Tensor weights = scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(3);
    const at::Tensor expected = weights.matmul(parts[2]).transpose(1, 2).reshape(context.sizes());
    const double bound = attention_bound(heads, shape);
    EXPECT_LT(relative_error(context, expected.detach()), bound) << "forward";
    const at::Tensor dcontext = random(context.sizes());
    const at::Tensor dqkv = empty(qkv.sizes());
    operations_->attention_backward({qkv, {context, log_sums}, dcontext, dqkv}, shape, heads);
    EXPECT_LT(relative_error(dqkv, gradients(expected, {input}, dcontext)[0]), bound) << "backward";
  }
}

// 1 thread takes whole heads, 3 and 7 share the tiles of 2 heads.
TEST_P(OperationsTest, AttentionHasTheSameBitsOnAnyNumberOfThreads) {
  const SequenceShape shape = {1, 300};
  const HeadShape heads = {2, 32};
  const at::Tensor qkv = random({shape.rows(), 3 * heads.features()});
  const at::Tensor dcontext = random({shape.rows(), heads.features()});
  const auto results = [&](int threads) {
    at::set_num_threads(threads);
    const at::Tensor context = empty(dcontext.sizes());
    const at::Tensor log_sums = empty({shape.batch, heads.heads, shape.time});
    const at::Tensor dqkv = empty(qkv.sizes());
    operations_->attention(qkv, shape, heads, {context, log_sums});
    operations_->attention_backward({qkv, {context, log_sums}, dcontext, dqkv}, shape, heads);
    return std::vector<at::Tensor>{context, dqkv};
  };
  const int threads_before = at::get_num_threads();
  const std::vector<at::Tensor> alone = results(1);
  for (const int threads : {2, 3, 7}) {
    const std::vector<at::Tensor> together = results(threads);
    EXPECT_TRUE(at::equal(together[0], alone[0])) << threads << " threads, forward";
    EXPECT_TRUE(at::equal(together[1], alone[1])) << threads << " threads, backward";
  }
  at::set_num_threads(threads_before);
}

TEST_P(OperationsTest, Gelu) {
  const at::Tensor z = random({kRows, 96}) * 3;
  const at::Tensor activation = empty(z.sizes());
  operations_->gelu(z, activation);
  const at::Tensor input = leaf(z);
  const at::Tensor expected = at::gelu(input, "tanh");
  expect_close(activation, expected, "forward");
  const at::Tensor gradient = random(z.sizes());
  const std::vector<at::Tensor> derivative = gradients(expected, {input}, gradient);
  operations_->gelu_backward(z, gradient);
  expect_close(gradient, derivative[0], "backward");
}

TEST_P(OperationsTest, EmbeddingsAddUpRepeatedTokens) {
  for (const auto& [vocabulary, rows] :
       {std::pair(11, 60), std::pair(1, 640), std::pair(3, 400), std::pair(700, 200)}) {
    SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(vocabulary) + " tokens");
    const at::Tensor ids = at::randint(vocabulary, {rows}, on_device(at::kLong));
    const at::Tensor tokens = random({vocabulary, kChannels});
    const at::Tensor positions = random({20, kChannels});
    const at::Tensor x = empty({rows, kChannels});
    operations_->embed(ids, tokens, positions, x);
    EXPECT_TRUE(at::equal(x, tokens.index_select(0, ids) + positions.repeat({rows / 20, 1})));
    const at::Tensor dx = random(x.sizes());
    const at::Tensor dtokens = at::ones_like(tokens);
    const at::Tensor dpositions = at::ones_like(positions);
    operations_->embed_backward({ids, at::argsort(ids, /*stable=*/true)}, dx, dtokens, dpositions);
    const at::Tensor exact = dx.to(at::kDouble);
    expect_close(dtokens, at::one_hot(ids, vocabulary).t().to(at::kDouble).mm(exact) + 1, "tokens, added");
    expect_close(dpositions, exact.view({-1, 20, kChannels}).sum(0) + 1, "positions, added");
  }
}

TEST_P(OperationsTest, ColumnSums) {
  const at::Tensor matrix = random({kRows, 50});
  const at::Tensor sums = at::ones({50}, on_device(dtype()));
  operations_->add_column_sums(matrix, sums);
  expect_close(sums, matrix.to(at::kDouble).sum(0) + 1, "sums, added");
}

TEST_P(OperationsTest, HeadLossIsTheCrossEntropyOfAllLogits) {
  constexpr std::int64_t kVocabulary = 1300;
  const at::Tensor x = random({kRows, kChannels});
  const Parameter head = parameter(random({kVocabulary, kChannels}) * 0.1);
  const LossTargets targets = {at::randint(kVocabulary, {kRows}, on_device(at::kLong)),
                               (at::rand({kRows}, on_device(at::kFloat)) < 0.8).to(at::kFloat)};
  const at::Tensor dx = empty(x.sizes());
  const QueuedLoss queued = operations_->head_loss_and_gradient(x, head, targets, dx);
  const LossSum loss = operations_->head_loss(x, head.value, targets);  // and waits
  const std::vector<at::Tensor> inputs = {leaf(x), leaf(head.value)};
  const at::Tensor token_losses =
      at::cross_entropy_loss(inputs[0].mm(inputs[1].t()), targets.ids, {}, at::Reduction::None);
  const at::Tensor expected = (token_losses * targets.mask).sum();
  EXPECT_EQ(loss.tokens, targets.mask.sum().item<double>());
  const double bound = rounds() ? 3e-3 * expected.item<double>() / loss.tokens : dtype() == at::kDouble ? 1e-12 : 1e-5;
  EXPECT_NEAR(loss.loss / loss.tokens, expected.item<double>() / loss.tokens, bound);
  EXPECT_EQ(queued.value(), loss.loss);
  const std::vector<at::Tensor> derivative = gradients(expected, inputs, at::ones({}, on_device(at::kDouble)));
  expect_product_close(dx, derivative[0], "dx");
  head.gradient.sub_(1);  // what it was added to
  expect_product_close(head.gradient, derivative[1], "dweight, added");
}

TEST_P(OperationsTest, HeadLossSurvivesHugeLogitsAndShowsThoseThatAreNoNumber) {
  const at::Tensor x = random({4, kChannels}) * 1e4;
  const Parameter head = parameter(random({600, kChannels}));
  const LossTargets targets = {at::zeros({4}, on_device(at::kLong)), at::ones({4}, on_device(at::kFloat))};
  const at::Tensor dx = empty(x.sizes());
  const QueuedLoss loss = operations_->head_loss_and_gradient(x, head, targets, dx);
  EXPECT_TRUE(at::isfinite(dx).all().item<bool>());
  EXPECT_TRUE(std::isfinite(loss.value()));
  x[2][5] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(operations_->head_loss(x, head.value, targets).loss));
}

TEST(MatrixRate, IsKnownForEachTypeOfProducts) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const double rate = matrix_rate(at::kCPU, type);
    EXPECT_GT(rate, 1e6) << type;
    EXPECT_LT(rate, 1e18) << type;
  }
}

#ifdef KANGPT_TEST_ON_GPU
INSTANTIATE_TEST_SUITE_P(OnAGpu, OperationsTest,
                         ::testing::Combine(::testing::Values(Kind::kAten, Kind::kAtenBfloat16, Kind::kCuda,
                                                              Kind::kCudaBfloat16),
                                            ::testing::Values(at::kFloat)));
#elif defined(KANGPT_TEST_EMULATED)
INSTANTIATE_TEST_SUITE_P(Emulated, OperationsTest,
                         ::testing::Combine(::testing::Values(Kind::kCuda, Kind::kCudaBfloat16),
                                            ::testing::Values(at::kFloat)));
#else
INSTANTIATE_TEST_SUITE_P(BothImplementations, OperationsTest,
                         ::testing::Combine(::testing::Values(Kind::kAten, Kind::kCpu),
                                            ::testing::Values(at::kFloat, at::kDouble)));
INSTANTIATE_TEST_SUITE_P(ProductsInBfloat16, OperationsTest,
                         ::testing::Combine(::testing::Values(Kind::kAtenBfloat16, Kind::kCpuBfloat16),
                                            ::testing::Values(at::kFloat)));
#endif

}  // namespace
}  // namespace kangpt::operations
