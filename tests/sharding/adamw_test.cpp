#include "sharding/adamw.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace kangpt::sharding {
namespace {

constexpr std::size_t kSize = 5000;

struct OwnedSlot {
  std::vector<float> parameters = std::vector<float>(kSize);
  std::vector<float> first_moment = std::vector<float>(kSize);
  std::vector<float> second_moment = std::vector<float>(kSize);
  ExchangeMemory::Slot view() { return {parameters, first_moment, second_moment}; }
};

std::vector<float> random_values(unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> values(kSize);
  for (float& value : values) value = normal(generator);
  return values;
}

training::OptimizerUpdate update_number(std::uint64_t t) {
  return {.learning_rate = 1e-3,
          .beta1 = 0.9,
          .beta2 = 0.999,
          .epsilon = 1e-8,
          .weight_decay = 1e-2,
          .gradient_scale = 0.5,
          .t = t};
}

// The published formula in fp64.
struct Oracle {
  std::vector<double> p, m = std::vector<double>(kSize), v = std::vector<double>(kSize);
  void step(const std::vector<float>& gradient, const training::OptimizerUpdate& u) {
    for (std::size_t i = 0; i < kSize; ++i) {
      const double g = gradient[i] * u.gradient_scale;
      m[i] = u.beta1 * m[i] + (1 - u.beta1) * g;
      v[i] = u.beta2 * v[i] + (1 - u.beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(u.beta1, static_cast<double>(u.t)));
      const double v_hat = v[i] / (1 - std::pow(u.beta2, static_cast<double>(u.t)));
      p[i] -= u.learning_rate * (m_hat / (std::sqrt(v_hat) + u.epsilon) + u.weight_decay * p[i]);
    }
  }
};

TEST(Adamw, FollowsTheFormulaInFp64) {
  OwnedSlot a;
  OwnedSlot b;
  a.parameters = random_values(1);
  Oracle oracle{.p = {a.parameters.begin(), a.parameters.end()}};
  for (std::uint64_t t = 1; t <= 20; ++t) {
    std::vector<float> gradient = random_values(100 + static_cast<unsigned>(t));
    oracle.step(gradient, update_number(t));
    adamw(a.view(), b.view(), gradient, update_number(t));
    std::swap(a, b);
    ASSERT_EQ(gradient, std::vector<float>(kSize)) << "the next step starts with zeros";
  }
  for (std::size_t i = 0; i < kSize; ++i) {
    ASSERT_NEAR(a.parameters[i], oracle.p[i], 1e-6 * (1 + std::abs(oracle.p[i]))) << i;
    ASSERT_NEAR(a.first_moment[i], oracle.m[i], 1e-6);
    ASSERT_NEAR(a.second_moment[i], oracle.v[i], 1e-6);
  }
}

TEST(Adamw, InPlaceAndOtherThreadCountsGiveTheSameBits) {
  OwnedSlot from;
  OwnedSlot to;
  from.parameters = random_values(1);
  std::vector<float> gradient = random_values(2);
  std::vector<float> same_gradient = gradient;
  at::set_num_threads(1);
  adamw(from.view(), to.view(), gradient, update_number(1));
  at::set_num_threads(2);
  adamw(from.view(), from.view(), same_gradient, update_number(1));
  EXPECT_EQ(from.parameters, to.parameters);
  EXPECT_EQ(from.second_moment, to.second_moment);
}

// Ranges of ranks and blocks of threads begin and end anywhere.
TEST(Adamw, HasTheSameBitsWhereverTheBufferIsCut) {
  OwnedSlot from;
  from.parameters = random_values(1);
  from.first_moment = random_values(2);
  from.second_moment = random_values(3);
  for (float& value : from.second_moment) value *= value;
  const std::vector<float> gradient = random_values(4);
  OwnedSlot whole;
  std::vector<float> all = gradient;
  adamw(from.view(), whole.view(), all, update_number(3));
  for (const std::size_t piece : {1U, 7U, 16U, 25U, 1000U}) {
    OwnedSlot found;
    std::vector<float> parts = gradient;
    for (std::size_t begin = 0; begin < kSize; begin += piece) {
      const FlatInterval here{begin, std::min(begin + piece, kSize)};
      adamw(part_of(from.view(), here), part_of(found.view(), here),
            std::span<float>(parts).subspan(here.begin, here.size()), update_number(3));
    }
    EXPECT_EQ(found.parameters, whole.parameters) << piece;
    EXPECT_EQ(found.first_moment, whole.first_moment) << piece;
    EXPECT_EQ(found.second_moment, whole.second_moment) << piece;
  }
}

TEST(Adamw, LeavesPaddingAtZero) {
  OwnedSlot slot;
  std::vector<float> gradient(kSize);
  adamw(slot.view(), slot.view(), gradient, update_number(1));
  for (const float value : slot.parameters) ASSERT_EQ(value, 0.0F);
}

// For every way to divide the buffer: each element is updated once, at the rate of its place.
TEST(SplitByRate, CoversARangeWithTheRateOfEachPlace) {
  const std::vector<training::RateRange> rates = {{16, 48, 0.5}, {48, 64, 3}, {80, 96, 0.25}};
  training::OptimizerUpdate update = update_number(1);
  update.rates = rates;
  for (std::uint64_t begin = 0; begin < 128; begin += 16) {
    for (std::uint64_t end = begin + 16; end <= 128; end += 16) {
      std::vector<double> found;
      for (const auto& [part, partial] : split_by_rate(update, {begin, end})) {
        ASSERT_EQ(part.begin, found.size());
        ASSERT_GT(part.size(), 0U);
        found.resize(part.end, partial.learning_rate);
      }
      ASSERT_EQ(found.size(), end - begin);
      for (std::uint64_t i = begin; i < end; ++i) {
        const double factor = i < 16 ? 1 : i < 48 ? 0.5 : i < 64 ? 3 : i < 80 ? 1 : i < 96 ? 0.25 : 1;
        ASSERT_EQ(found[i - begin], factor * update.learning_rate) << i;
      }
    }
  }
}

// Against one update for each place in the cycle, of the elements with the factor of that place.
TEST(Adamw, GivesEachElementTheRateOfItsPlaceInTheCycle) {
  const std::vector<double> cycle = {0.01, 1, 0.5};
  const std::vector<training::RateRange> rates = {{16, 4016, 0.25, cycle}};
  training::OptimizerUpdate update = update_number(2);
  update.rates = rates;
  OwnedSlot from, found;
  from.parameters = random_values(1);
  from.second_moment = std::vector<float>(kSize, 0.25F);
  const std::vector<float> gradient = random_values(2);
  for (const FlatInterval range : {FlatInterval{0, 1600}, FlatInterval{1600, kSize}}) {  // two ranks
    for (const auto& [part, partial] : split_by_rate(update, range)) {
      const FlatInterval here{range.begin + part.begin, range.begin + part.end};
      std::vector<float> of_part(gradient.begin() + static_cast<std::ptrdiff_t>(here.begin),
                                 gradient.begin() + static_cast<std::ptrdiff_t>(here.end));
      adamw(part_of(from.view(), here), part_of(found.view(), here), of_part, partial);
    }
  }
  for (const double factor : {0.25 * 0.01, 0.25, 0.25 * 0.5, 1.0}) {
    OwnedSlot expected;
    training::OptimizerUpdate alone = update_number(2);
    alone.learning_rate *= factor;
    std::vector<float> all = gradient;
    adamw(from.view(), expected.view(), all, alone);
    for (std::size_t i = 0; i < kSize; ++i) {
      const double here = i < 16 || i >= 4016 ? 1 : 0.25 * cycle[(i - 16) % cycle.size()];
      if (here != factor) continue;
      ASSERT_NEAR(found.parameters[i], expected.parameters[i], 1e-6) << i;
    }
  }
}

TEST(SquaredNorm, AgreesWithFp64AndSeesNan) {
  std::vector<float> values = random_values(3);
  double expected = 0;
  for (const float value : values) expected += static_cast<double>(value) * value;
  EXPECT_NEAR(squared_norm(values), expected, 1e-9 * expected);
  values[4321] = std::nanf("");
  EXPECT_TRUE(std::isnan(squared_norm(values)));
}

}  // namespace
}  // namespace kangpt::sharding
