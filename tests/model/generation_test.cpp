#include "model/generation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.hpp"
#include "tests/model/test_network.hpp"

namespace kangpt::model {
namespace {

const std::vector<float> kLogits = {std::log(0.1F), std::log(0.5F), std::log(0.15F), std::log(0.25F)};

std::map<std::int64_t, double> frequencies(const SamplingOptions& options) {
  constexpr int kDraws = 20000;
  Sampler sampler(options, 7);
  std::map<std::int64_t, double> result;
  for (int draw = 0; draw < kDraws; ++draw) result[sampler.sample(kLogits)] += 1.0 / kDraws;
  return result;
}

TEST(SamplerTest, TemperatureZeroTakesTheFirstOfTheMostProbable) {
  Sampler sampler({.temperature = 0}, 1);
  EXPECT_EQ(sampler.sample(kLogits), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 2, 2}), 1);
}

TEST(SamplerTest, DrawsFollowTheProbabilities) {
  const auto shares = frequencies({});
  EXPECT_NEAR(shares.at(0), 0.1, 0.01);
  EXPECT_NEAR(shares.at(1), 0.5, 0.015);
  EXPECT_NEAR(shares.at(2), 0.15, 0.01);
  EXPECT_NEAR(shares.at(3), 0.25, 0.015);
}

TEST(SamplerTest, TemperatureTwoTakesTheSquareRootOfTheProbabilities) {
  const double total = std::sqrt(0.1) + std::sqrt(0.5) + std::sqrt(0.15) + std::sqrt(0.25);
  EXPECT_NEAR(frequencies({.temperature = 2}).at(1), std::sqrt(0.5) / total, 0.015);
}

TEST(SamplerTest, TopKAndTopPCutTheTailAndRescaleTheRest) {
  const auto two = frequencies({.top_k = 2});
  EXPECT_EQ(two.size(), 2U);
  EXPECT_NEAR(two.at(1), 0.5 / 0.75, 0.015);
  const auto most = frequencies({.top_p = 0.8});  // 0.5 + 0.25 < 0.8 <= 0.5 + 0.25 + 0.15
  EXPECT_EQ(most.size(), 3U);
  EXPECT_NEAR(most.at(2), 0.15 / 0.9, 0.01);
  EXPECT_EQ(frequencies({.top_p = 1e-9}).size(), 1U);
  EXPECT_EQ(frequencies({.top_k = 100}).size(), 4U);
}

TEST(SamplerTest, OptionsOutOfRangeAndDamagedLogitsAreRefused) {
  EXPECT_THROW(Sampler({.temperature = -1}, 0), UsageError);
  EXPECT_THROW(Sampler({.temperature = std::numeric_limits<double>::quiet_NaN()}, 0), UsageError);
  EXPECT_THROW(Sampler({.top_k = -1}, 0), UsageError);
  EXPECT_THROW(Sampler({.top_p = 0}, 0), UsageError);
  EXPECT_THROW(Sampler({.top_p = 1.5}, 0), UsageError);
  EXPECT_THROW(Sampler({}, 0).sample(std::vector<float>{0, std::nanf("")}), DataError);
}

TEST(SamplerTest, InfinityWinsWhateverTheOptions) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> one = {3, -kInfinity, kInfinity, 5, -kInfinity};
  const std::vector<float> two = {kInfinity, 4, kInfinity};
  for (const SamplingOptions& options : std::vector<SamplingOptions>{
           {}, {.temperature = 0}, {.temperature = 1e-300}, {.temperature = 1000}, {.top_k = 2}, {.top_p = 0.5}}) {
    Sampler sampler(options, 3);
    for (int draw = 0; draw < 200; ++draw) {
      ASSERT_EQ(sampler.sample(one), 2);
      ASSERT_NE(sampler.sample(two), 1);
    }
  }
  Sampler sampler({}, 3);
  std::map<std::int64_t, int> drawn;
  for (int draw = 0; draw < 1000; ++draw) ++drawn[sampler.sample(two)];
  EXPECT_NEAR(drawn[0], 500, 80) << "two that are infinite are equally probable";
}

TEST(SamplerTest, WhatIsImpossibleIsNeverDrawn) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1e-300, 1.0, 1000.0}) {
    Sampler sampler({.temperature = temperature}, 3);
    for (int draw = 0; draw < 200; ++draw)
      ASSERT_EQ(sampler.sample(std::vector<float>{-kInfinity, -3e38F, -kInfinity}), 1);
    EXPECT_THROW(sampler.sample(std::vector<float>{-kInfinity, -kInfinity}), DataError);
    EXPECT_THROW(sampler.sample(std::vector<float>{kInfinity, std::nanf("")}), DataError);
  }
  EXPECT_THROW(Sampler({.temperature = kInfinity}, 0), UsageError);
}

class GenerateTest : public ::testing::Test {
 protected:
  std::vector<std::int64_t> generated(const std::vector<std::int64_t>& prompt, const GenerationOptions& options) {
    return generate(network_.transformer, prompt, options, [](std::int64_t) { return true; });
  }
  std::int64_t most_probable_after(const std::vector<std::int64_t>& tokens) {
    return network_.transformer.logits(at::tensor(tokens).unsqueeze(0))[0][-1].argmax().item<std::int64_t>();
  }

  testing::Network network_{testing::small_config(config::FeedForward::kKan), at::kFloat};
  GenerationOptions greedy_{.sampling = {.temperature = 0}, .max_tokens = 12, .window_tokens = 6, .end_token = {}};
};

TEST_F(GenerateTest, TheWindowSlidesOverTheLastTokens) {
  std::vector<std::int64_t> tokens = {3, 1, 4};
  const std::vector<std::int64_t> result = generated(tokens, greedy_);
  ASSERT_EQ(result.size(), 12U);
  for (const std::int64_t token : result) {
    const auto window = tokens.end() - std::min<std::ptrdiff_t>(6, std::ssize(tokens));
    EXPECT_EQ(token, most_probable_after({window, tokens.end()}));
    tokens.push_back(token);
  }
}

TEST_F(GenerateTest, OfALongPromptOnlyTheLastWindowCounts) {
  EXPECT_EQ(generated({9, 9, 9, 9, 1, 2, 3, 4, 5, 6}, greedy_), generated({1, 2, 3, 4, 5, 6}, greedy_));
}

TEST_F(GenerateTest, TheEndTokenAndTheCallerStopIt) {
  const std::vector<std::int64_t> all = generated({3, 1, 4}, greedy_);
  GenerationOptions ending = greedy_;
  ending.end_token = all[3];
  const auto first = std::find(all.begin(), all.end(), all[3]);
  EXPECT_EQ(generated({3, 1, 4}, ending), std::vector<std::int64_t>(all.begin(), first));
  int calls = 0;
  const std::vector<std::int64_t> prompt = {3, 1, 4};
  EXPECT_EQ(generate(network_.transformer, prompt, greedy_, [&](std::int64_t) { return ++calls < 2; }).size(), 2U);
}

TEST_F(GenerateTest, TheSeedDecides) {
  GenerationOptions options = greedy_;
  options.sampling.temperature = 1;
  const std::vector<std::int64_t> once = generated({3, 1, 4}, options);
  EXPECT_EQ(generated({3, 1, 4}, options), once);
  options.seed = 1;
  EXPECT_NE(generated({3, 1, 4}, options), once);
  EXPECT_THROW(generated({}, options), UsageError);
}

}  // namespace
}  // namespace kangpt::model
