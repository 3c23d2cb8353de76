// The implementations of Activations against formulas in fp64 that autograd differentiates. Built three times: for the
// CPU; with the kernels for GPUs, emulated; and for a GPU (skipped where there is none).
#include "operations/activations.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <memory>
#include <tuple>

#include "tests/model/test_network.hpp"
#include "tests/operations/tested_kernels.hpp"

namespace kangpt::operations {
namespace {

using model::testing::relative_error;
using testing::gradients;
using testing::kDevice;
using testing::kTested;
using testing::leaf;
using testing::Tested;

constexpr std::int64_t kRows = 300;

std::unique_ptr<Activations> make(Kernels kernels) {
  testing::prepare_kernels();
  return make_activations(kernels);
}

class ActivationsTest : public ::testing::TestWithParam<Tested> {
 protected:
  void SetUp() override {
    if (kDevice == at::kCUDA && !at::hasCUDA()) GTEST_SKIP() << "there is no GPU here";
    at::manual_seed(7);
  }

  static at::ScalarType dtype() { return std::get<1>(GetParam()); }
  static at::TensorOptions on_device() { return at::TensorOptions(dtype()).device(kDevice); }
  static at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes, on_device()); }
  static Parameter parameter(const at::Tensor& value) { return {value, at::ones_like(value)}; }
  static void expect_close(const at::Tensor& actual, const at::Tensor& expected, const char* what) {
    EXPECT_LT(relative_error(actual, expected.detach()), dtype() == at::kDouble ? 1e-12 : 1e-5) << what;
  }
  // The coefficients of each channel, [channels, terms].
  static at::Tensor of_channels(const at::Tensor& coefficients, std::int64_t channels) {
    return coefficients.repeat_interleave(channels / coefficients.size(0), 0);
  }

  std::unique_ptr<Activations> activations_ = make(std::get<0>(GetParam()));
};

struct Shape {
  std::int64_t groups;
  std::int64_t channels;
  std::int64_t degree;
};

// One group, one channel a group, and widths below, at and beside whole vectors.
constexpr Shape kShapes[] = {{1, 96, 8}, {8, 128, 4}, {4, 12, 1}, {5, 85, 3}, {6, 6, 16}, {2, 66, 2}};

TEST_P(ActivationsTest, ChebyshevFunctionsAreSumsOfCosinesOfMultiplesOfTheAngle) {
  for (const auto& [groups, channels, degree] : kShapes) {
    const at::Tensor u = random({kRows, channels}) * 1.5;
    const Parameter coefficients = parameter(random({groups, degree + 1}));
    const at::Tensor y = at::empty_like(u);
    activations_->chebyshev(u, coefficients.value, y);
    const std::vector<at::Tensor> inputs = {leaf(u), leaf(coefficients.value)};
    const at::Tensor degrees = at::arange(degree + 1, u.options().dtype(at::kDouble));
    const at::Tensor basis = (at::tanh(inputs[0]).acos().unsqueeze(2) * degrees).cos();
    const at::Tensor expected = (basis * of_channels(inputs[1], channels)).sum(2);
    expect_close(y, expected, "forward");
    at::Tensor gradient = random(u.sizes());
    const std::vector<at::Tensor> derivative = gradients(expected, inputs, gradient);
    activations_->chebyshev_backward({u, gradient, gradient}, coefficients);  // in place
    expect_close(gradient, derivative[0], "du");
    expect_close(coefficients.gradient, derivative[1] + 1, "dcoefficients, added");
  }
}

TEST_P(ActivationsTest, RationalFunctionsAreQuotientsWithADenominatorOfOneAndMore) {
  for (const auto& [groups, channels, degree] : kShapes) {
    const at::Tensor u = random({kRows, channels}) * 1.5;
    const RationalCoefficients coefficients = {parameter(random({groups, 6})), parameter(random({groups, 4}))};
    const at::Tensor y = at::empty_like(u);
    activations_->rational(u, coefficients, y);
    const std::vector<at::Tensor> inputs = {leaf(u), leaf(coefficients.numerator.value),
                                            leaf(coefficients.denominator.value)};
    const at::Tensor powers = inputs[0].unsqueeze(2).pow(at::arange(6, u.options().dtype(at::kDouble)));
    const at::Tensor p = (powers * of_channels(inputs[1], channels)).sum(2);
    const at::Tensor a = (powers.narrow(2, 1, 4) * of_channels(inputs[2], channels)).sum(2);
    const at::Tensor expected = p / (1 + a.abs());
    expect_close(y, expected, "forward");
    at::Tensor gradient = random(u.sizes());
    const std::vector<at::Tensor> derivative = gradients(expected, inputs, gradient);
    activations_->rational_backward({u, gradient, gradient}, coefficients);  // in place
    expect_close(gradient, derivative[0], "du");
    expect_close(coefficients.numerator.gradient, derivative[1] + 1, "dnumerator, added");
    expect_close(coefficients.denominator.gradient, derivative[2] + 1, "ddenominator, added");
  }
}

// At the first values of the input's function, the identity, |A| has a kink everywhere: autograd would say 0.
TEST_P(ActivationsTest, ADenominatorOfZerosLearns) {
  const at::Tensor u = random({kRows, 32});
  const at::Tensor numerator = at::zeros({2, 6}, on_device());
  numerator.select(1, 1).fill_(1);
  const RationalCoefficients coefficients = {parameter(numerator), parameter(at::zeros({2, 4}, on_device()))};
  const at::Tensor y = at::empty_like(u);
  activations_->rational(u, coefficients, y);
  EXPECT_TRUE(at::equal(y, u));
  const at::Tensor dy = random(u.sizes());
  const at::Tensor du = at::empty_like(u);
  activations_->rational_backward({u, dy, du}, coefficients);
  EXPECT_TRUE(at::equal(du, dy));
  const at::Tensor x = u.to(at::kDouble).view({kRows, 2, 16});
  const at::Tensor outer = -dy.to(at::kDouble).view_as(x) * x;
  for (std::int64_t i = 0; i < 4; ++i) {
    expect_close(coefficients.denominator.gradient.select(1, i), (outer * x.pow(i + 1)).sum(at::IntArrayRef{0, 2}) + 1,
                 "added");
  }
}

TEST_P(ActivationsTest, SwigluIsTheGatedProduct) {
  const at::Tensor gate = random({kRows, 83}) * 4;
  const at::Tensor up = random(gate.sizes());
  const at::Tensor activation = at::empty_like(gate);
  activations_->swiglu(gate, up, activation);
  const std::vector<at::Tensor> inputs = {leaf(gate), leaf(up)};
  const at::Tensor expected = inputs[0] / (1 + (-inputs[0]).exp()) * inputs[1];
  expect_close(activation, expected, "forward");
  const at::Tensor dup = random(gate.sizes());
  const at::Tensor dgate = at::empty_like(gate);
  const std::vector<at::Tensor> derivative = gradients(expected, inputs, dup);
  activations_->swiglu_backward({gate, up, dgate, dup});
  expect_close(dgate, derivative[0], "dgate");
  expect_close(dup, derivative[1], "dup");
}

TEST_P(ActivationsTest, SwigluSurvivesLargeGates) {
  const at::Tensor gate = at::tensor({-1e30, -300.0, -90.0, 90.0, 300.0, 1e30}).to(on_device());
  const at::Tensor activation = at::empty_like(gate);
  activations_->swiglu(gate, at::ones_like(gate), activation);
  const at::Tensor zeros = at::zeros({3}, on_device());
  EXPECT_TRUE(at::allclose(activation.narrow(0, 1, 2), zeros.narrow(0, 0, 2), 0, 1e-30));
  EXPECT_TRUE(at::equal(activation.narrow(0, 3, 3), gate.narrow(0, 3, 3)));
  EXPECT_TRUE(at::isfinite(activation).all().item<bool>());
}

#if !defined(KANGPT_TEST_ON_GPU) && !defined(KANGPT_TEST_EMULATED)
using CpuActivationsTest = ActivationsTest;

TEST_P(CpuActivationsTest, GradientsHaveTheSameBitsOnAnyNumberOfThreads) {
  const at::Tensor u = random({1000, 64});
  const at::Tensor dy = random(u.sizes());
  const at::Tensor chebyshev = random({4, 6}), numerator = random({4, 6}), denominator = random({4, 4});
  const auto results = [&](int threads) {
    at::set_num_threads(threads);
    const Parameter c = parameter(chebyshev);
    const RationalCoefficients r = {parameter(numerator), parameter(denominator)};
    const at::Tensor first = at::empty_like(u), second = at::empty_like(u);
    activations_->chebyshev_backward({u, dy, first}, c);
    activations_->rational_backward({u, dy, second}, r);
    return std::vector<at::Tensor>{first, second, c.gradient, r.numerator.gradient, r.denominator.gradient};
  };
  const int threads_before = at::get_num_threads();
  const std::vector<at::Tensor> alone = results(1);
  for (const int threads : {2, 3, 7}) {
    const std::vector<at::Tensor> together = results(threads);
    for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(at::equal(together[i], alone[i])) << threads << " " << i;
  }
  at::set_num_threads(threads_before);
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuActivationsTest,
                         ::testing::Combine(::testing::Values(Kernels::kCpu),
                                            ::testing::Values(at::kFloat, at::kDouble)));
#endif

INSTANTIATE_TEST_SUITE_P(Implementations, ActivationsTest, ::testing::ValuesIn(kTested));

}  // namespace
}  // namespace kangpt::operations
