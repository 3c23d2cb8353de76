// A KAN layer of the parity network against itself in fp64, in both precisions of matrix products.
#include "model/sublayers/kan.hpp"

#include <gtest/gtest.h>

#include "base/processor/processor.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

using testing::relative_error;

constexpr std::int64_t kRows = 256;
constexpr std::int64_t kChannels = 128;
constexpr std::int64_t kTerms = 9;

struct Results {
  at::Tensor out;
  at::Tensor du;
  at::Tensor dcoefficients;
};

struct Inputs {
  at::Tensor u;
  at::Tensor dy;
  at::Tensor coefficients;
};

Results run(const Inputs& inputs, at::ScalarType dtype, config::Precision precision) {
  const at::Tensor u = inputs.u.to(dtype);
  const Parameter coefficients = {inputs.coefficients.to(dtype), at::zeros_like(inputs.coefficients, dtype)};
  const std::unique_ptr<Operations> operations = operations::make_cpu_operations(precision);
  Scratch scratch(u.options());
  ChebyKan kan(coefficients, {*operations, scratch});
  Kept kept;
  const Results results = {at::empty_like(u), at::empty_like(u), coefficients.gradient};
  kan.forward(u, at::zeros_like(u), results.out, kept);
  kan.backward(u, inputs.dy.to(dtype), results.du, kept);
  return results;
}

struct Bounds {
  config::Precision precision;
  double forward;
  double gradient;
};

class KanTest : public ::testing::TestWithParam<Bounds> {};

TEST_P(KanTest, AgreesWithDoublePrecision) {
  const Bounds bounds = GetParam();
  if (bounds.precision == config::Precision::kBf16 && base::bfloat16_products() == base::Bfloat16Products::kNone) {
    GTEST_SKIP() << "this processor has neither AVX512-BF16 nor AMX";
  }
  at::manual_seed(5);
  const Inputs inputs = {at::randn({kRows, kChannels}), at::randn({kRows, kChannels}),
                         at::randn({kChannels, kChannels, kTerms}) / (kChannels * kTerms)};
  const Results actual = run(inputs, at::kFloat, bounds.precision);
  const Results expected = run(inputs, at::kDouble, config::Precision::kFp32);
  EXPECT_LT(relative_error(actual.out, expected.out), bounds.forward);
  EXPECT_LT(relative_error(actual.du, expected.du), bounds.gradient);
  EXPECT_LT(relative_error(actual.dcoefficients, expected.dcoefficients), bounds.gradient);
}

INSTANTIATE_TEST_SUITE_P(Precisions, KanTest,
                         ::testing::Values(Bounds{config::Precision::kFp32, 1e-5, 1e-5},
                                           Bounds{config::Precision::kBf16, 3e-3, 4e-3}));

}  // namespace
}  // namespace kangpt::model
