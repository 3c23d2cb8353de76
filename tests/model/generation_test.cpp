#include "model/generation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <tuple>

#include "base/error.hpp"
#include "model/growing_texts.hpp"
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

// Every mixer with every feed-forward part, and with dilations that reach over the window.
class GrowingTextsTest : public ::testing::TestWithParam<std::tuple<config::Mixer, config::FeedForward>> {
 protected:
  static constexpr std::int64_t kWindow = 6;

  static testing::Network make_network() {
    config::ModelConfig config = testing::small_config(std::get<1>(GetParam()), std::get<0>(GetParam()));
    config.dilation = {2, 3};
    return {config, at::kFloat};
  }
  // Of the token behind `tokens`, computed whole.
  at::Tensor expected(const std::vector<std::int64_t>& tokens) const {
    const auto seen = tokens.end() - std::min<std::ptrdiff_t>(kWindow, std::ssize(tokens));
    const std::vector<std::int64_t> last(seen, tokens.end());
    return network_.transformer.logits(at::tensor(last).unsqueeze(0))[0][-1];
  }

  testing::Network network_ = make_network();
};

INSTANTIATE_TEST_SUITE_P(AllNetworks, GrowingTextsTest,
                         ::testing::Combine(::testing::Values(config::Mixer::kAttention, config::Mixer::kConvMod,
                                                              config::Mixer::kConv, config::Mixer::kDilatedConv,
                                                              config::Mixer::kSeparableConv,
                                                              config::Mixer::kDeformableConv),
                                            ::testing::ValuesIn(testing::kFeedForwards)));

// Three texts of different lengths: each is within its window, fills it and slides at another time.
TEST_P(GrowingTextsTest, LogitsAreThoseOfTheWholeComputation) {
  std::vector<std::vector<std::int64_t>> texts = {{3}, {1, 4, 1, 5}, {9, 2, 6, 5, 3, 5, 8, 9}};
  GrowingTexts growing(network_.transformer, 3, kWindow);
  for (std::int64_t text = 0; text < 3; ++text) {
    const std::vector<std::int64_t>& tokens = texts[static_cast<std::size_t>(text)];
    EXPECT_LT(testing::relative_error(growing.begin(text, tokens), expected(tokens)), 1e-5);
  }
  for (std::int64_t step = 0; step < 10; ++step) {
    std::vector<GrowingTexts::Addition> additions;
    for (const std::int64_t text : {2, 0, 1}) {
      if (step % 3 == text) continue;  // not all of them each time
      additions.push_back({text, (7 * step + 11 * text) % network_.config.vocabulary_size});
      texts[static_cast<std::size_t>(text)].push_back(additions.back().token);
    }
    const at::Tensor logits = growing.add(additions);
    for (std::size_t row = 0; row < additions.size(); ++row) {
      const std::vector<std::int64_t>& tokens = texts[static_cast<std::size_t>(additions[row].text)];
      EXPECT_LT(testing::relative_error(logits[static_cast<std::int64_t>(row)], expected(tokens)), 1e-5)
          << "step " << step << ", text " << additions[row].text;
    }
  }
}

TEST_P(GrowingTextsTest, ATextThatBeginsAnewForgetsTheOneBefore) {
  GrowingTexts growing(network_.transformer, 1, kWindow);
  growing.begin(0, std::vector<std::int64_t>{30, 31, 32, 33, 34});
  growing.begin(0, std::vector<std::int64_t>{2, 7});
  const std::vector<GrowingTexts::Addition> addition = {{0, 1}};
  EXPECT_LT(testing::relative_error(growing.add(addition)[0], expected({2, 7, 1})), 1e-5);
}

TEST_P(GrowingTextsTest, ATextIsTheSameWhateverGrowsBesideIt) {
  GenerationOptions options{.max_tokens = 12, .window_tokens = kWindow, .end_token = 17};
  const std::vector<Prompt> prompts = {{{3, 1, 4}, 1}, {{2}, 2}, {{1, 2, 3, 4, 5, 6, 7}, 3}, {{3, 1, 4}, 4}};
  const auto go_on = [](std::size_t, std::int64_t) { return true; };
  const std::vector<GeneratedText> together = generate_all(network_.transformer, prompts, options, go_on);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const GeneratedText alone = generate_all(network_.transformer, std::span(prompts).subspan(i, 1), options, go_on)[0];
    EXPECT_EQ(together[i].tokens, alone.tokens);
    EXPECT_EQ(together[i].end, alone.end);
    EXPECT_EQ(alone.end == TextEnd::kMaxTokens, alone.tokens.size() == 12);
  }
  EXPECT_NE(together[0].tokens, together[3].tokens) << "another seed";
}

}  // namespace
}  // namespace kangpt::model
