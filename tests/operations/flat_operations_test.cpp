// Both implementations of FlatOperations against formulas in fp64, and each other. The own kernels are emulated.
#include "operations/flat_operations.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/test_network.hpp"
#include "tests/support/cuda_emulator/emulator.hpp"

namespace kangpt::operations {
namespace {

using model::testing::relative_error;

// Of a KAN layer, with a factor of its own for each degree.
const std::vector<double> kCycle = {0.01, 1, 0.5, 1, 1};

AdamwUpdate update_number(std::uint64_t t) {
  return {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 1e-2, .gradient_scale = 0.5, .t = t};
}

AdamwTensors random_state(std::int64_t size) {
  return {at::randn({size}), at::randn({size}) * 0.1, at::randn({size}).square() * 0.01, at::randn({size}) * 2};
}

AdamwTensors copy_of(const AdamwTensors& t) {
  return {t.parameters.clone(), t.first_moment.clone(), t.second_moment.clone(), t.gradient.clone()};
}

AdamwTensors interval(const AdamwTensors& t, std::int64_t begin, std::int64_t size) {
  return {t.parameters.narrow(0, begin, size), t.first_moment.narrow(0, begin, size),
          t.second_moment.narrow(0, begin, size), t.gradient.narrow(0, begin, size)};
}

void expect_equal(const AdamwTensors& found, const AdamwTensors& expected, const std::string& what) {
  EXPECT_TRUE(at::equal(found.parameters, expected.parameters)) << what;
  EXPECT_TRUE(at::equal(found.first_moment, expected.first_moment)) << what;
  EXPECT_TRUE(at::equal(found.second_moment, expected.second_moment)) << what;
  EXPECT_TRUE(at::equal(found.gradient, expected.gradient)) << what;
}

// The published formula in fp64, of one part.
void step_in_fp64(const AdamwTensors& t, const AdamwUpdate& u, const RatePart& part) {
  const std::int64_t size = part.end - part.begin;
  const AdamwTensors here = interval(t, part.begin, size);
  at::Tensor rate = at::full({size}, part.learning_rate, at::kDouble);
  for (std::int64_t i = 0; i < size && !part.cycle.empty(); ++i)
    rate[i] *= part.cycle[static_cast<std::size_t>(part.cycle_start + i) % part.cycle.size()];
  const at::Tensor g = here.gradient * u.gradient_scale;
  here.first_moment.mul_(u.beta1).add_(g, 1 - u.beta1);
  here.second_moment.mul_(u.beta2).add_(g * g, 1 - u.beta2);
  const auto count = static_cast<double>(u.t);
  const at::Tensor first = here.first_moment / (1 - std::pow(u.beta1, count));
  const at::Tensor second = here.second_moment / (1 - std::pow(u.beta2, count));
  here.parameters.sub_(rate * (first / (second.sqrt() + u.epsilon) + u.weight_decay * here.parameters));
  here.gradient.zero_();
}

AdamwTensors in_fp64(const AdamwTensors& t) {
  return {t.parameters.to(at::kDouble), t.first_moment.to(at::kDouble), t.second_moment.to(at::kDouble),
          t.gradient.to(at::kDouble)};
}

class FlatOperationsTest : public ::testing::TestWithParam<Kernels> {
 protected:
  void SetUp() override {
    use_cuda_operations();
    at::manual_seed(9);
    operations_ = make_flat_operations(GetParam());
  }
  ~FlatOperationsTest() override { emulator::set_order(0); }

  std::unique_ptr<FlatOperations> operations_;
};

// Parts of all lengths, at whole vectors and beside them, with what lies between them left alone.
TEST_P(FlatOperationsTest, AdamwFollowsTheFormulaInEachPart) {
  constexpr std::int64_t kSize = 6001;
  const std::vector<std::vector<RatePart>> divisions = {
      {{0, kSize, 1e-2}},
      {{0, 1600, 1e-2}, {1600, 4800, 3e-3, kCycle, 2}, {4816, 6000, 1e-3}},
      {{1, 2, 1e-2}, {2, 1100, 1e-3, kCycle, 4}, {1107, 5007, 2e-3, {kCycle.data(), 2}, 1}, {5009, kSize, 5e-3}}};
  for (const std::vector<RatePart>& parts : divisions) {
    const AdamwTensors found = random_state(kSize);
    const AdamwTensors expected = in_fp64(found);
    for (std::uint64_t t = 1; t <= 4; ++t) {
      found.gradient.copy_(at::randn({kSize}));
      expected.gradient.copy_(found.gradient);
      operations_->adamw(found, update_number(t), parts);
      for (const RatePart& part : parts) step_in_fp64(expected, update_number(t), part);
      EXPECT_TRUE(at::equal(found.gradient.to(at::kDouble), expected.gradient)) << "0 where there was an update";
    }
    EXPECT_LT(relative_error(found.parameters, expected.parameters), 1e-6);
    EXPECT_LT(relative_error(found.first_moment, expected.first_moment), 1e-6);
    EXPECT_LT(relative_error(found.second_moment, expected.second_moment), 1e-6);
  }
}

// More parts, and more factors of cycles, than go to a device with one launch; and a cycle of more than fit at all.
TEST_P(FlatOperationsTest, AdamwTakesAnyNumberOfPartsAndCycles) {
  constexpr std::int64_t kParts = 150, kPartSize = 24, kLongCycle = 1000;
  std::vector<std::vector<double>> cycles;
  for (std::int64_t i = 0; i < kParts; ++i) cycles.emplace_back(7, 1.0 / static_cast<double>(i % 40 + 1));
  const std::vector<double> long_cycle(kLongCycle, 0.5);
  for (const bool with_long : {false, true}) {
    std::vector<RatePart> parts;
    for (std::int64_t i = 0; i < kParts; ++i) {
      const std::span<const double> cycle =
          i % 3 == 0 ? std::span<const double>() : cycles[static_cast<std::size_t>(i)];
      parts.push_back({i * kPartSize, (i + 1) * kPartSize, 1e-2, cycle, i % 7});
    }
    if (with_long) parts.back().cycle = long_cycle;
    const AdamwTensors found = random_state(kParts * kPartSize);
    const AdamwTensors expected = in_fp64(found);
    operations_->adamw(found, update_number(3), parts);
    for (const RatePart& part : parts) step_in_fp64(expected, update_number(3), part);
    EXPECT_LT(relative_error(found.parameters, expected.parameters), 1e-6);
  }
}

// Ranges of ranks and rates begin anywhere.
TEST_P(FlatOperationsTest, AdamwHasTheSameBitsWhereverTheBufferIsCut) {
  constexpr std::int64_t kSize = 5000;
  const AdamwTensors before = random_state(kSize);
  const AdamwTensors whole = copy_of(before);
  operations_->adamw(whole, update_number(2), std::vector<RatePart>{{0, kSize, 1e-2, kCycle, 0}});
  for (const std::int64_t piece : {997, 1024, 1600}) {
    const AdamwTensors found = copy_of(before);
    for (std::int64_t begin = 0; begin < kSize; begin += piece) {
      const std::int64_t size = std::min(piece, kSize - begin);
      const auto place = static_cast<std::int64_t>(static_cast<std::size_t>(begin) % kCycle.size());
      operations_->adamw(interval(found, begin, size), update_number(2),
                         std::vector<RatePart>{{0, size, 1e-2, kCycle, place}});
    }
    expect_equal(found, whole, "in pieces of " + std::to_string(piece));
  }
}

TEST_P(FlatOperationsTest, AGradientThatIsNoNumberIsSeenAndGone) {
  const AdamwTensors state = random_state(100);
  state.gradient[77] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(operations_->squared_norms(state.gradient, 1).item<double>()));
  operations_->adamw(state, update_number(1), std::vector<RatePart>{{0, 100, 1e-3}});
  EXPECT_TRUE(at::equal(state.gradient, at::zeros({100})));
}

TEST_P(FlatOperationsTest, NormsAreThoseOfFp64WhateverTheNumberOfSlices) {
  for (const std::int64_t size : {1, 3, 1024, 16384, 16385, 50000}) {
    const at::Tensor values = at::randn({4 * size + 1});
    const at::Tensor aligned = values.narrow(0, 0, 4 * size);
    const at::Tensor norms = operations_->squared_norms(aligned, 4).clone();
    EXPECT_LT(relative_error(norms, aligned.to(at::kDouble).square().view({4, size}).sum(1)), 1e-14) << size;
    for (std::int64_t slice = 0; slice < 4; ++slice) {
      const at::Tensor alone = operations_->squared_norms(aligned.narrow(0, slice * size, size), 1);
      EXPECT_TRUE(at::equal(alone[0], norms[slice])) << "another rank's slice, of " << size;
    }
    const at::Tensor elsewhere = values.narrow(0, 1, 4 * size);
    elsewhere.copy_(aligned.clone());
    EXPECT_TRUE(at::equal(operations_->squared_norms(elsewhere, 4), norms)) << "at another address, of " << size;
  }
}

// Exact, so all agree in every bit.
TEST_P(FlatOperationsTest, HashesAreSumsOfBitsTimesFactors) {
  for (const std::int64_t size : {1, 2047, 2048, 2049, 40000}) {
    const at::Tensor values = at::randn({3 * size});
    HashFactors factors;
    make_sufficient(factors, size, at::kCPU);
    const auto* const bits = reinterpret_cast<const std::int32_t*>(values.const_data_ptr<float>());
    const at::Tensor hashes = operations_->hashes(values, 3);
    for (std::int64_t range = 0; range < 3; ++range) {
      std::uint64_t expected = 0;
      for (std::int64_t i = 0; i < size; ++i) {
        const auto factor = static_cast<std::uint64_t>(factors.columns.const_data_ptr<std::int64_t>()[i % 2048]) *
                            static_cast<std::uint64_t>(factors.rows.const_data_ptr<std::int64_t>()[i / 2048]);
        expected += static_cast<std::uint64_t>(std::int64_t{bits[range * size + i]}) * factor;
      }
      EXPECT_EQ(static_cast<std::uint64_t>(hashes[range].item<std::int64_t>()), expected) << range << " of " << size;
    }
  }
}

TEST_P(FlatOperationsTest, TheOrderOfThreadsAndBlocksMakesNoDifference) {
  const AdamwTensors before = random_state(9001);
  std::vector<AdamwTensors> states;
  std::vector<at::Tensor> norms, hashes;
  for (const std::uint64_t order : {0U, 1U, 2U}) {
    emulator::set_order(order);
    norms.push_back(operations_->squared_norms(before.gradient.narrow(0, 0, 9000), 3).clone());
    hashes.push_back(operations_->hashes(before.parameters, 1));
    states.push_back(copy_of(before));
    operations_->adamw(states.back(), update_number(1),
                       std::vector<RatePart>{{0, 5000, 1e-3}, {5000, 9001, 1e-2, kCycle, 3}});
    expect_equal(states.back(), states.front(), "order " + std::to_string(order));
    EXPECT_TRUE(at::equal(norms.back(), norms.front())) << order;
    EXPECT_TRUE(at::equal(hashes.back(), hashes.front())) << order;
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, FlatOperationsTest, ::testing::Values(Kernels::kAten, Kernels::kCuda),
                         [](const auto& tested) { return tested.param == Kernels::kAten ? "Aten" : "Cuda"; });

}  // namespace
}  // namespace kangpt::operations
