// The kernels for GPUs, emulated: the same bits in any order of threads and blocks, at sizes of all kinds, whatever the
// memory held that they write to.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <vector>

#include "operations/activations.hpp"
#include "operations/flat_operations.hpp"
#include "operations/operations.hpp"
#include "tests/support/cuda_emulator/emulator.hpp"

namespace kangpt::operations {
namespace {

at::Tensor poisoned(at::IntArrayRef sizes) {
  return at::full(sizes, std::numeric_limits<float>::quiet_NaN());
}

using Results = std::vector<at::Tensor>;
using Computation = std::function<Results(Operations&)>;

class EmulatedKernelsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(5); }
  ~EmulatedKernelsTest() override { emulator::set_order(0); }

  // Each time with operations of its own, so that nothing is left of the time before.
  static void expect_same_bits(const Computation& computation, const std::string& what) {
    for (const config::Precision precision : {config::Precision::kFp32, config::Precision::kBf16}) {
      emulator::set_order(0);
      const Results expected = computation(*make_cuda_operations(precision));
      for (const at::Tensor& result : expected) EXPECT_TRUE(at::isfinite(result).all().item<bool>()) << what;
      for (const std::uint64_t order : {1U, 2U}) {
        emulator::set_order(order);
        const Results results = computation(*make_cuda_operations(precision));
        for (std::size_t i = 0; i < results.size(); ++i)
          EXPECT_TRUE(at::equal(results[i], expected[i])) << what << ": result " << i << " in order " << order;
      }
    }
  }
};

Parameter parameter(at::IntArrayRef sizes) {
  return {at::randn(sizes), at::ones(sizes)};
}

Parameter with_new_gradient(const Parameter& of) {
  return {of.value, at::ones_like(of.value)};
}

TEST_F(EmulatedKernelsTest, LayerNorm) {
  for (const std::int64_t channels : {32, 64, 128, 256, 384, 512, 768, 1024}) {
    for (const std::int64_t rows : {1, 33, 75}) {
      const at::Tensor x = at::randn({rows, channels}), du = at::randn({rows, channels});
      const LayerParameters norm = {parameter({channels}), parameter({channels})};
      expect_same_bits(
          [&](Operations& operations) -> Results {
            const LayerParameters own = {with_new_gradient(norm.weight), with_new_gradient(norm.bias)};
            const at::Tensor u = poisoned({rows, channels}), statistics = poisoned({2, rows}), dx = at::ones_like(x);
            operations.layer_norm(x, own, u, statistics);
            operations.layer_norm_backward({x, statistics, du, dx}, own);
            return {u, statistics, dx, own.weight.gradient, own.bias.gradient};
          },
          "layer norm of " + std::to_string(rows) + " x " + std::to_string(channels));
    }
  }
}

TEST_F(EmulatedKernelsTest, Chebyshev) {
  for (const std::int64_t channels : {1, 6, 128}) {
    const at::Tensor u = at::randn({37, channels}), dbasis = at::randn({37, 5 * channels});
    const at::Tensor coefficients = at::randn({channels, 35, 6}), dpacked = at::randn({35, 5 * channels});
    expect_same_bits(
        [&](Operations& operations) -> Results {
          const at::Tensor basis = poisoned({37, 5 * channels}), du = poisoned(u.sizes());
          const at::Tensor packed = poisoned({5 * channels, 35}), bias = poisoned({35});
          const at::Tensor gradient = at::ones_like(coefficients);
          operations.chebyshev_basis(u, basis);
          operations.chebyshev_backward(basis, dbasis, du);
          operations.pack_coefficients(coefficients, packed, bias);
          operations.add_coefficient_gradient(dpacked, bias, gradient);
          return {basis, du, packed, bias, gradient};
        },
        "Chebyshev polynomials of " + std::to_string(channels));
  }
}

TEST_F(EmulatedKernelsTest, Attention) {
  for (const std::int64_t head_dim : {2, 4, 8, 16, 32}) {
    for (const std::int64_t time : {1, 31, 64, 97, 128}) {
      const SequenceShape shape = {2, time};
      const HeadShape heads = {3, head_dim};
      const at::Tensor qkv = at::randn({shape.rows(), 3 * heads.features()});
      const at::Tensor dcontext = at::randn({shape.rows(), heads.features()});
      expect_same_bits(
          [&](Operations& operations) -> Results {
            const at::Tensor context = poisoned(dcontext.sizes()), log_sums = poisoned({2, 3, time});
            const at::Tensor dqkv = poisoned(qkv.sizes());
            operations.attention(qkv, shape, heads, {context, log_sums});
            operations.attention_backward({qkv, {context, log_sums}, dcontext, dqkv}, shape, heads);
            return {context, log_sums, dqkv};
          },
          "attention of " + std::to_string(head_dim) + " features, time " + std::to_string(time));
    }
  }
}

TEST_F(EmulatedKernelsTest, SumsAndElements) {
  for (const auto& [rows, columns] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {513, 33}, {1100, 7}}) {
    const at::Tensor matrix = at::randn({rows, columns});
    expect_same_bits(
        [&, rows = rows, columns = columns](Operations& operations) -> Results {
          const at::Tensor sums = at::ones({columns}), activation = poisoned({rows, columns});
          const at::Tensor gradient = at::ones({rows, columns});
          operations.add_column_sums(matrix, sums);
          operations.gelu(matrix, activation);
          operations.gelu_backward(matrix, gradient);
          return {sums, activation, gradient};
        },
        "sums of " + std::to_string(rows) + " x " + std::to_string(columns));
  }
}

TEST_F(EmulatedKernelsTest, EmbeddingAndHead) {
  for (const std::int64_t vocabulary : {1, 8, 77, 4099}) {
    constexpr std::int64_t kRows = 300, kTime = 4, kChannels = 20;
    const at::Tensor ids = at::randint(vocabulary, {kRows}, at::kLong), tokens = at::randn({vocabulary, kChannels});
    const at::Tensor positions = at::randn({kTime, kChannels}), dx = at::randn({kRows, kChannels});
    const LossTargets targets = {ids.flip(0), (at::rand({kRows}) < 0.7).to(at::kFloat)};
    expect_same_bits(
        [&](Operations& operations) -> Results {
          const at::Tensor x = poisoned({kRows, kChannels}), dhidden = poisoned({kRows, kChannels});
          const Parameter head = {tokens, at::ones_like(tokens)};
          const at::Tensor dtokens = at::ones_like(tokens), dpositions = at::ones_like(positions);
          operations.embed(ids, tokens, positions, x);
          operations.embed_backward({ids, at::argsort(ids, /*stable=*/true)}, dx, dtokens, dpositions);
          const double loss = operations.head_loss_and_gradient(x, head, targets, dhidden).value();
          EXPECT_EQ(operations.head_loss(x, head.value, targets).loss, loss);
          return {x, dtokens, dpositions, dhidden, head.gradient, at::scalar_tensor(loss, at::kDouble)};
        },
        "vocabulary of " + std::to_string(vocabulary));
  }
}

TEST_F(EmulatedKernelsTest, FunctionsOfGroups) {
  for (const auto& [groups, channels] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 5}, {3, 24}, {7, 7}}) {
    const at::Tensor u = at::randn({67, channels}), dy = at::randn({67, channels});
    const Parameter polynomial = parameter({groups, 9}), numerator = parameter({groups, 6});
    const Parameter denominator = parameter({groups, 4});
    expect_same_bits(
        [&](Operations& /*operations*/) -> Results {
          const std::unique_ptr<Activations> activations = make_cuda_activations();
          const Parameter c = with_new_gradient(polynomial);
          const RationalCoefficients r = {with_new_gradient(numerator), with_new_gradient(denominator)};
          const at::Tensor y = poisoned(u.sizes()), z = poisoned(u.sizes());
          const at::Tensor du = poisoned(u.sizes()), dv = poisoned(u.sizes());
          activations->chebyshev(u, c.value, y);
          activations->chebyshev_backward({u, dy, du}, c);
          activations->rational(u, r, z);
          activations->rational_backward({u, dy, dv}, r);
          return {y, z, du, dv, c.gradient, r.numerator.gradient, r.denominator.gradient};
        },
        "functions of " + std::to_string(groups) + " groups");
  }
}

TEST_F(EmulatedKernelsTest, GatesAndDropout) {
  for (const std::int64_t channels : {1, 7, 128}) {
    const at::Tensor gate = at::randn({33, channels}), up = at::randn({33, channels});
    const Dropout dropout = {.probability = 0.4, .seed = 3, .step = 9, .first_row = 5, .place = 1, .places = 2};
    expect_same_bits(
        [&](Operations& operations) -> Results {
          const std::unique_ptr<Activations> activations = make_cuda_activations();
          const at::Tensor activation = poisoned(gate.sizes()), dgate = poisoned(gate.sizes());
          const at::Tensor dup = at::ones_like(up), dropped = poisoned(gate.sizes());
          activations->swiglu(gate, up, activation);
          activations->swiglu_backward({gate, up, dgate, dup});
          operations.drop(gate, dropout, dropped);
          return {activation, dgate, dup, dropped};
        },
        "gates of " + std::to_string(channels));
  }
}

TEST_F(EmulatedKernelsTest, Muon) {
  const std::vector<OwnMatrix> matrices = {
      {0, 70, 40, 0, 2800, 0, 1}, {2803, 130, 129, 100, 16000, 2903, 2}, {20000, 3, 65, 0, 195, 20000, 1}};
  const at::Tensor parameters = at::randn({21000}), gradient = at::randn({21000}), moment = at::randn({21000});
  expect_same_bits(
      [&](Operations& /*operations*/) -> Results {
        const std::unique_ptr<FlatOperations> operations = make_cuda_flat_operations();
        const MuonTensors tensors = {moment.clone(), moment.abs(), gradient.clone(), moment.clone()};
        const at::Tensor result = parameters.clone();
        const MuonUpdate update = {.learning_rate = 0.1, .weight_decay = 0.1, .momentum = 0.9, .beta2 = 0.9};
        operations->muon_directions(tensors, update, matrices);
        operations->muon_parameters(result, tensors.directions, update, matrices);
        return {result, tensors.first_moment, tensors.second_moment, tensors.gradient, tensors.directions};
      },
      "Muon");
}

}  // namespace
}  // namespace kangpt::operations
