// Both implementations of Convolutions against plain loops in fp64 and against finite differences.
#include "operations/convolutions.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "tests/model/test_network.hpp"

namespace kangpt::operations {
namespace {

using model::testing::relative_error;

enum class Kind { kAten, kCpu };

// Formulas of model.md, sum by sum.
at::Tensor depthwise_oracle(const at::Tensor& u, const LayerParameters& layer, Taps taps) {
  const at::Tensor input = u.to(at::kDouble);
  const at::Tensor weight = layer.weight.value.to(at::kDouble);
  const at::Tensor y = layer.bias.value.to(at::kDouble).expand(u.sizes()).clone();
  for (std::int64_t row = 0; row < u.size(0); ++row) {
    for (std::int64_t k = 0; k < weight.size(1) && k * taps.dilation <= row % taps.shape.time; ++k) {
      y[row] += weight.select(1, k) * input[row - k * taps.dilation];
    }
  }
  return y;
}

struct Tap {
  double modulation;
  double position;  // p = t - delta
};

Tap tap_oracle(const at::Tensor& offsets, std::int64_t row, std::int64_t index, const DeformableTaps& taps) {
  const std::int64_t count = offsets.size(1) / 2;
  const std::int64_t k = index % (count / taps.groups);
  const auto o = offsets[row][index].item<double>();
  const auto z = offsets[row][count + index].item<double>();
  const double delta =
      std::clamp(static_cast<double>(k * taps.dilation) + taps.max_offset * std::tanh(o), 0.0, taps.max_offset);
  return {2 / (1 + std::exp(-z)), static_cast<double>(row % taps.shape.time) - delta};
}

// offsets: before deformable(). Loops over rows, taps and channels.
at::Tensor deformable_oracle(const at::Tensor& u, const at::Tensor& offsets, const LayerParameters& layer,
                             const DeformableTaps& taps) {
  const at::Tensor input = u.to(at::kDouble).contiguous();
  const at::Tensor weight = layer.weight.value.to(at::kDouble).contiguous();
  const at::Tensor y = layer.bias.value.to(at::kDouble).expand(u.sizes()).contiguous();
  const std::int64_t channels = u.size(1);
  const std::int64_t width = channels / taps.groups;
  const std::int64_t kernel = weight.size(1);
  for (std::int64_t row = 0; row < u.size(0); ++row) {
    const std::int64_t begin = row - row % taps.shape.time;
    for (std::int64_t index = 0; index < taps.groups * kernel; ++index) {
      const Tap tap = tap_oracle(offsets, row, index, taps);
      const double below = std::floor(tap.position);
      const double a = tap.position - below;
      for (std::int64_t c = index / kernel * width; c < (index / kernel + 1) * width; ++c) {
        const auto u_at = [&](double time) {
          if (time < 0 || time > static_cast<double>(row - begin)) return 0.0;
          return input.data_ptr<double>()[(begin + static_cast<std::int64_t>(time)) * channels + c];
        };
        y.data_ptr<double>()[row * channels + c] += weight.data_ptr<double>()[c * kernel + index % kernel] *
                                                    tap.modulation * ((1 - a) * u_at(below) + a * u_at(below + 1));
      }
    }
  }
  return y;
}

class ConvolutionsTest : public ::testing::TestWithParam<std::tuple<Kind, at::ScalarType>> {
 protected:
  void SetUp() override { at::manual_seed(5); }

  static at::ScalarType dtype() { return std::get<1>(GetParam()); }
  static double tolerance() { return dtype() == at::kDouble ? 1e-12 : 1e-5; }
  static at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes, dtype()); }
  static at::Tensor empty(at::IntArrayRef sizes) {
    return at::full(sizes, std::numeric_limits<double>::quiet_NaN(), dtype());
  }
  static Parameter parameter(const at::Tensor& value) { return {value, at::ones_like(value)}; }
  static LayerParameters layer(std::int64_t channels, std::int64_t kernel) {
    return {parameter(random({channels, kernel})), parameter(random({channels}))};
  }

  std::unique_ptr<Convolutions> convolutions_ =
      std::get<0>(GetParam()) == Kind::kAten ? make_aten_convolutions() : make_cpu_convolutions();
};

TEST_P(ConvolutionsTest, DepthwiseIsTheSumOverTheTaps) {
  for (const Taps taps : {Taps{{3, 17}, 1}, Taps{{2, 5}, 3}, Taps{{2, 4}, 9}, Taps{{5, 1}, 1}}) {
    const LayerParameters parameters = layer(37, 4);
    const at::Tensor u = random({taps.shape.rows(), 37});
    const at::Tensor y = empty(u.sizes());
    convolutions_->depthwise(u, parameters, taps, y);
    EXPECT_LT(relative_error(y, depthwise_oracle(u, parameters, taps)), tolerance());
  }
}

// y is linear in u and in the weight, so <dy, y(u + h) - y(u)> is <du, h> exactly.
TEST_P(ConvolutionsTest, DepthwiseGradientIsTheTransposedMap) {
  const Taps taps = {{3, 11}, 2};
  const LayerParameters parameters = layer(20, 4);
  const LayerParameters other = layer(20, 4);
  const at::Tensor u = random({33, 20});
  const at::Tensor h = random({33, 20});
  const at::Tensor dy = random({33, 20});
  const at::Tensor du = empty(u.sizes());
  convolutions_->depthwise_backward({u, dy, du}, parameters, taps);
  const auto product = [](const at::Tensor& a, const at::Tensor& b) {
    return (a.to(at::kDouble) * b.to(at::kDouble)).sum().item<double>();
  };
  const at::Tensor change_of_u = depthwise_oracle(h, parameters, taps) - parameters.bias.value;
  EXPECT_NEAR(product(du, h), product(dy, change_of_u), 100 * tolerance());
  const double along = product(parameters.weight.gradient - 1, other.weight.value) +
                       product(parameters.bias.gradient - 1, other.bias.value);
  EXPECT_NEAR(along, product(dy, depthwise_oracle(u, other, taps)), 100 * tolerance());
}

struct DeformableCase {
  DeformableTaps taps;
  std::int64_t channels;
  std::int64_t kernel;
};

std::vector<DeformableCase> deformable_cases() {
  return {{{{2, 13}, 1, 4, 6.5}, 16, 3}, {{{3, 9}, 2, 1, 9}, 5, 4}, {{{2, 7}, 1, 6, 0.75}, 6, 1},
          {{{1, 40}, 3, 2, 64}, 34, 5},  {{{4, 1}, 1, 2, 3}, 8, 3}, {{{2, 6}, 1, 2, 0}, 8, 1}};
}

TEST_P(ConvolutionsTest, DeformableEqualsTheFormula) {
  for (const DeformableCase& each : deformable_cases()) {
    const std::int64_t rows = each.taps.shape.rows();
    const LayerParameters parameters = layer(each.channels, each.kernel);
    const at::Tensor u = random({rows, each.channels});
    const at::Tensor offsets = random({rows, 2 * each.taps.groups * each.kernel});
    const at::Tensor expected = deformable_oracle(u, offsets, parameters, each.taps);
    const at::Tensor y = empty(u.sizes());
    convolutions_->deformable({u, offsets, y}, parameters, each.taps);
    EXPECT_LT(relative_error(y, expected), tolerance()) << "channels " << each.channels;
  }
}

// In single precision against the gradients in double precision, which finite differences of the oracle confirm.
TEST_P(ConvolutionsTest, DeformableGradientsEqualFiniteDifferencesOfTheFormula) {
  for (const DeformableCase& each : deformable_cases()) {
    const std::int64_t rows = each.taps.shape.rows();
    const LayerParameters parameters = layer(each.channels, each.kernel);
    const at::Tensor u = random({rows, each.channels});
    const at::Tensor offsets = random({rows, 2 * each.taps.groups * each.kernel}) * 0.7;
    const at::Tensor dy = random({rows, each.channels});
    const at::Tensor squashed = offsets.clone();
    const at::Tensor du = empty(u.sizes());
    const at::Tensor doffsets = empty(offsets.sizes());
    convolutions_->deformable({u, squashed, empty(u.sizes())}, parameters, each.taps);
    convolutions_->deformable_backward({u, squashed, dy, doffsets, du}, parameters, each.taps);
    const LayerParameters exact = {{parameters.weight.value.to(at::kDouble), {}},
                                   {parameters.bias.value.to(at::kDouble), {}}};
    const at::Tensor exact_u = u.to(at::kDouble);
    const at::Tensor exact_offsets = offsets.to(at::kDouble);
    const auto loss = [&] {
      return (deformable_oracle(exact_u, exact_offsets, exact, each.taps) * dy).sum().item<double>();
    };
    const auto check = [&](const at::Tensor& value, const at::Tensor& gradient, double added) {
      for (std::int64_t element = 0; element < value.numel(); element += 1 + value.numel() / 12) {
        constexpr double kStep = 1e-6;
        double& number = value.data_ptr<double>()[element];
        const double saved = number;
        number = saved + kStep;
        const double above = loss();
        number = saved - kStep;
        const double slope = (above - loss()) / (2 * kStep);
        number = saved;
        const double actual = gradient.reshape({-1})[element].item<double>() - added;
        EXPECT_NEAR(actual, slope, (dtype() == at::kDouble ? 1e-6 : 2e-4) * (1 + std::abs(slope)));
      }
    };
    check(exact_u, du, 0);
    check(exact_offsets, doffsets, 0);
    check(exact.weight.value, parameters.weight.gradient, 1);
    check(exact.bias.value, parameters.bias.gradient, 1);
  }
}

TEST_P(ConvolutionsTest, DeformableWithoutOffsetsIsTheDepthwiseConvolution) {
  const DeformableTaps taps = {{3, 12}, 2, 4, 8};
  const LayerParameters parameters = layer(16, 5);
  const LayerParameters plain = {parameter(parameters.weight.value), parameter(parameters.bias.value)};
  const at::Tensor u = random({36, 16});
  const at::Tensor offsets = at::zeros({36, 2 * 4 * 5}, dtype());
  const at::Tensor y = empty(u.sizes());
  const at::Tensor expected = empty(u.sizes());
  convolutions_->deformable({u, offsets, y}, parameters, taps);
  convolutions_->depthwise(u, plain, {taps.shape, taps.dilation}, expected);
  EXPECT_LT(relative_error(y, expected), dtype() == at::kDouble ? 1e-15 : 1e-7);
  const at::Tensor dy = random(u.sizes());
  const at::Tensor du = empty(u.sizes());
  const at::Tensor expected_du = empty(u.sizes());
  const at::Tensor doffsets = empty(offsets.sizes());
  convolutions_->deformable_backward({u, offsets, dy, doffsets, du}, parameters, taps);
  convolutions_->depthwise_backward({u, dy, expected_du}, plain, {taps.shape, taps.dilation});
  EXPECT_LT(relative_error(du, expected_du), tolerance());
  EXPECT_LT(relative_error(parameters.weight.gradient, plain.weight.gradient), tolerance());
  EXPECT_TRUE(at::isfinite(doffsets).all().item<bool>());
}

// On a kink the slope is that of smaller delta, or of greater delta at 0, where a smaller one would see the future.
TEST_P(ConvolutionsTest, SlopesOnKinksNeverSeeTheFuture) {
  const DeformableTaps taps = {{1, 4}, 1, 1, 4};
  const LayerParameters parameters = {parameter(at::ones({1, 2}, dtype())), parameter(at::zeros({1}, dtype()))};
  const at::Tensor u = at::tensor({1.0, 10.0, 100.0, 1000.0}, dtype()).view({4, 1});
  const at::Tensor offsets = at::zeros({4, 4}, dtype());
  const at::Tensor doffsets = empty(offsets.sizes());
  convolutions_->deformable({u, offsets, empty(u.sizes())}, parameters, taps);
  convolutions_->deformable_backward({u, offsets, at::ones_like(u), doffsets, empty(u.sizes())}, parameters, taps);
  EXPECT_DOUBLE_EQ(doffsets[2][0].item<double>(), -4 * (100.0 - 10.0));  // tap 0: u[2] and u[1], not u[3]
  EXPECT_DOUBLE_EQ(doffsets[2][1].item<double>(), -4 * (100.0 - 10.0));  // tap 1, 1 back: u[1] towards u[2]
}

TEST_P(ConvolutionsTest, WeightsThatAreNoNumberShowAndReadNothingOutside) {
  const DeformableTaps taps = {{2, 5}, 1, 2, 4};
  const LayerParameters parameters = layer(8, 3);
  const at::Tensor u = random({10, 8});
  const at::Tensor offsets = random({10, 12});
  offsets[3][1] = std::numeric_limits<double>::quiet_NaN();
  offsets[4][2] = 1e30;
  const at::Tensor y = empty(u.sizes());
  convolutions_->deformable({u, offsets, y}, parameters, taps);
  EXPECT_FALSE(at::isfinite(y[3]).all().item<bool>());
  EXPECT_TRUE(at::isfinite(y[4]).all().item<bool>());
  const at::Tensor du = empty(u.sizes());
  convolutions_->deformable_backward({u, offsets, random({10, 8}), empty(offsets.sizes()), du}, parameters, taps);
  EXPECT_TRUE(at::isfinite(du.narrow(0, 5, 5)).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(BothImplementations, ConvolutionsTest,
                         ::testing::Combine(::testing::Values(Kind::kAten, Kind::kCpu),
                                            ::testing::Values(at::kFloat, at::kDouble)));

}  // namespace
}  // namespace kangpt::operations
