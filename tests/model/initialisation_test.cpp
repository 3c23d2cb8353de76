#include "model/parameters/initialisation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "model/parameters/parameter_layout.hpp"

namespace kangpt::model {
namespace {

config::ModelConfig network() {
  config::ModelConfig config;
  config.vocabulary_size = 1000;
  config.sequence_length = 64;
  config.d_model = 64;
  config.layers = 2;
  config.heads = 4;
  config.head_dim = 4;
  config.feed_forward = config::FeedForward::kHybrid;
  config.kan_degree = 8;
  config.mlp_hidden = 256;
  config.final_norm = true;
  return config;
}

class InitialisationTest : public ::testing::Test {
 protected:
  static std::vector<float> initialised(const base::ParameterTable& table, std::uint64_t seed) {
    std::vector<float> flat(table.flat_size, -1.0F);
    initialise(network(), table, seed, flat);
    return flat;
  }
  std::span<const float> values(const std::string& name) const {
    const auto entry = std::find_if(table_.entries.begin(), table_.entries.end(),
                                    [&](const base::ParameterEntry& candidate) { return candidate.name == name; });
    return std::span<const float>(flat_).subspan(entry->offset, entry->size);
  }
  static double deviation(std::span<const float> values) {
    double squares = 0;
    for (const float value : values) squares += static_cast<double>(value) * value;
    return std::sqrt(squares / static_cast<double>(values.size()));
  }
  static double greatest(std::span<const float> values) {
    double result = 0;
    for (const float value : values) result = std::max(result, std::abs(static_cast<double>(value)));
    return result;
  }

  base::ParameterTable table_ = parameter_layout(network());
  std::vector<float> flat_ = initialised(table_, 1);
};

TEST_F(InitialisationTest, DenseWeightsHaveTheDeviationOfTheirFanInAfterTheCut) {
  const auto expect = [&](const std::string& name, double fan_in) {
    const double expected = 1 / std::sqrt(fan_in);
    const double tolerance = 4 / std::sqrt(2.0 * static_cast<double>(values(name).size()));  // four deviations
    EXPECT_NEAR(deviation(values(name)) / expected, 1, tolerance) << name;
    EXPECT_LE(greatest(values(name)), 2 * expected / 0.87962566) << name;
    EXPECT_GT(greatest(values(name)), 1.9 * expected / 0.87962566) << name;
  };
  expect("head.weight", 64);
  expect("layers.0.attention.query.weight", 64);
  expect("layers.0.attention.output.weight", 16);
  expect("layers.0.mlp.up.weight", 64);
  expect("layers.0.mlp.down.weight", 256);
}

TEST_F(InitialisationTest, EmbeddingsAndCoefficientsAreNormalWithoutACut) {
  EXPECT_NEAR(deviation(values("token_embedding.weight")), 1 / 8.0, 0.002);
  EXPECT_GT(greatest(values("token_embedding.weight")), 3 / 8.0);
  EXPECT_NEAR(deviation(values("layers.1.kan.coefficients")) * 64 * 9, 1, 0.02);
  EXPECT_GT(greatest(values("layers.1.kan.coefficients")) * 64 * 9, 3);
}

TEST_F(InitialisationTest, BiasesAreZeroNormsOneAndGapsZero) {
  EXPECT_EQ(greatest(values("layers.0.attention.key.bias")), 0);
  EXPECT_EQ(greatest(values("layers.1.mixer_norm.bias")), 0);
  for (const float value : values("final_norm.weight")) EXPECT_EQ(value, 1);
  double inside = 0;
  for (const base::ParameterEntry& entry : table_.entries) {
    for (const float value : values(entry.name)) inside += std::abs(value);
  }
  double all = 0;
  for (const float value : flat_) all += std::abs(value);
  EXPECT_NEAR(all, inside, 1e-6 * all);
}

TEST_F(InitialisationTest, AParameterDependsOnItsNameAndTheSeedAlone) {
  base::ParameterTable alone;
  alone.entries = {{"layers.0.mlp.up.weight", {256, 64}, 0, 256 * 64}};
  alone.flat_size = alone.parameter_count = 256 * 64;
  const std::span<const float> together = values("layers.0.mlp.up.weight");
  EXPECT_TRUE(std::ranges::equal(initialised(alone, 1), together));
  EXPECT_FALSE(std::ranges::equal(initialised(alone, 2), together));
  EXPECT_FALSE(std::ranges::equal(values("layers.0.attention.query.weight"), values("layers.0.attention.key.weight")));
}

TEST_F(InitialisationTest, ValuesAreTheSameOnEveryMachine) {
  EXPECT_FLOAT_EQ(values("head.weight")[0], -0.011249448F);
  EXPECT_FLOAT_EQ(values("layers.1.kan.coefficients")[1000], 0.0010166977F);
}

// x and its Swish, to the accuracy of the approximant.
TEST(RationalInitialisation, IsTheIdentityAndSwish) {
  config::ModelConfig model = network();
  model.feed_forward = config::FeedForward::kRationalKan;
  const base::ParameterTable table = parameter_layout(model);
  std::vector<float> flat(table.flat_size);
  initialise(model, table, 1, flat);
  const auto row = [&](const std::string& name) {
    const auto entry = std::ranges::find(table.entries, name, &base::ParameterEntry::name);
    const std::size_t terms = entry->size / 8;
    EXPECT_TRUE(std::ranges::equal(std::span(flat).subspan(entry->offset, terms),
                                   std::span(flat).subspan(entry->offset + 7 * terms, terms)));
    return std::vector<double>(&flat[entry->offset], &flat[entry->offset + terms]);
  };
  const auto value = [&](const std::string& place, double x) {
    const std::string prefix = "layers.1.rational_kan." + place;
    double p = 0, q = 0, power = 1;
    for (const double a : row(prefix + ".numerator")) p += a * std::exchange(power, power * x);
    power = x;
    for (const double b : row(prefix + ".denominator")) q += b * std::exchange(power, power * x);
    return p / (1 + std::abs(q));
  };
  for (double x = -3; x <= 3; x += 0.125) {
    EXPECT_EQ(value("input", x), x);
    EXPECT_NEAR(value("hidden", x), x / (1 + std::exp(-x)), 1.5e-4);
  }
  EXPECT_NEAR(value("hidden", 8) / 8, 1, 0.05) << "far out";
}

TEST(GroupedInitialisation, IsTanhAndABoundedSwish) {
  config::ModelConfig model = network();
  model.feed_forward = config::FeedForward::kGroupedKan;
  for (const int degree : {1, 2, 5}) {
    model.kan_degree = degree;
    const base::ParameterTable table = parameter_layout(model);
    std::vector<float> flat(table.flat_size);
    initialise(model, table, 1, flat);
    const auto value = [&](const std::string& name, double x) {
      const auto entry = std::ranges::find(table.entries, name, &base::ParameterEntry::name);
      double sum = 0;
      for (int d = 0; d <= degree; ++d)
        sum += static_cast<double>(flat[entry->offset + static_cast<std::size_t>(d)]) *
               std::cos(d * std::acos(std::tanh(x)));
      return sum;
    };
    for (double x = -3; x <= 3; x += 0.25) {
      EXPECT_NEAR(value("layers.0.grouped_kan.input.coefficients", x), std::tanh(x), 1e-12);
      const double swish = degree == 1 ? std::tanh(x) : std::tanh(x) / (1 + std::exp(-2 * x));
      EXPECT_NEAR(value("layers.0.grouped_kan.hidden.coefficients", x), swish, 1e-12);
    }
  }
}

}  // namespace
}  // namespace kangpt::model
