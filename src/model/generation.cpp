#include "model/generation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "model/growing_texts.hpp"

namespace kangpt::model {
namespace {

struct Candidate {
  std::int64_t token;
  double weight;  // probability up to a common factor
};

// All tokens, the most probable first; equal ones in order of their ids.
std::vector<Candidate> ranked(std::span<const float> logits, double temperature) {
  const double greatest = *std::max_element(logits.begin(), logits.end());
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (std::size_t token = 0; token < logits.size(); ++token) {
    // Infinity less infinity is no number.
    const bool is_greatest = logits[token] == greatest;
    const double weight = is_greatest ? 1 : std::exp((static_cast<double>(logits[token]) - greatest) / temperature);
    candidates.push_back({static_cast<std::int64_t>(token), weight});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  return candidates;
}

double total_weight(const std::vector<Candidate>& candidates) {
  return std::accumulate(candidates.begin(), candidates.end(), 0.0,
                         [](double sum, const Candidate& candidate) { return sum + candidate.weight; });
}

// The first candidate at which the running sum of weights reaches `share` of all.
std::size_t reach(const std::vector<Candidate>& candidates, double share) {
  const double goal = share * total_weight(candidates);
  double sum = 0;
  for (std::size_t index = 0; index < candidates.size(); ++index) {
    sum += candidates[index].weight;
    if (sum >= goal) return index;
  }
  return candidates.size() - 1;
}

std::span<const float> row_of(const at::Tensor& logits, std::int64_t row) {
  return {logits[row].const_data_ptr<float>(), static_cast<std::size_t>(logits.size(1))};
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, std::uint64_t seed) : options_(options), state_(seed) {
  if (!(options.temperature >= 0) || std::isinf(options.temperature))
    throw UsageError("--temperature must be 0 (greedy) or greater, and finite");
  if (options.top_k < 0) throw UsageError("--top-k must be 0 (all tokens) or greater");
  if (!(options.top_p > 0 && options.top_p <= 1)) throw UsageError("--top-p must be greater than 0 and at most 1");
}

// SplitMix64 (Steele, Lea and Flood, 2014); in [0, 1).
double Sampler::uniform() {
  std::uint64_t bits = (state_ += 0x9E3779B97F4A7C15ULL);
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ULL;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBULL;
  return static_cast<double>((bits ^ (bits >> 31)) >> 11) * 0x1p-53;
}

std::int64_t Sampler::sample(std::span<const float> logits) {
  if (std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); })) {
    throw DataError("generation: the network's output is not a number; its weights are damaged");
  }
  const auto greatest = std::max_element(logits.begin(), logits.end());
  if (*greatest == -std::numeric_limits<float>::infinity()) {
    throw DataError("generation: the network holds every token for impossible; its weights are damaged");
  }
  if (options_.temperature == 0) return greatest - logits.begin();
  std::vector<Candidate> candidates = ranked(logits, options_.temperature);
  if (options_.top_k > 0) {
    candidates.resize(std::min(candidates.size(), static_cast<std::size_t>(options_.top_k)));
  }
  if (options_.top_p < 1) candidates.resize(reach(candidates, options_.top_p) + 1);
  return candidates[reach(candidates, uniform())].token;
}

std::vector<GeneratedText> generate_all(const Transformer& network, std::span<const Prompt> prompts,
                                        const GenerationOptions& options,
                                        const std::function<bool(std::size_t, std::int64_t)>& on_token) {
  GrowingTexts growing(network, static_cast<std::int64_t>(prompts.size()), options.window_tokens);
  std::vector<GeneratedText> texts(prompts.size());
  std::vector<Sampler> samplers;
  std::vector<GrowingTexts::Addition> additions;
  // Draws the next token of a text, which grows further unless that ends it.
  const auto draw = [&](std::size_t text, std::span<const float> logits) {
    const std::int64_t token = samplers[text].sample(logits);
    if (token == options.end_token) {
      texts[text].end = TextEnd::kEndToken;
      return;
    }
    texts[text].tokens.push_back(token);
    if (!on_token(text, token)) {
      texts[text].end = TextEnd::kCaller;
    } else if (std::ssize(texts[text].tokens) < options.max_tokens) {
      additions.push_back({static_cast<std::int64_t>(text), token});
    }
  };
  for (std::size_t text = 0; text < prompts.size(); ++text) {
    samplers.emplace_back(options.sampling, prompts[text].seed);
    if (prompts[text].tokens.empty()) throw UsageError("generation needs a prompt of at least one token");
    if (options.max_tokens <= 0) continue;
    const at::Tensor logits = growing.begin(static_cast<std::int64_t>(text), prompts[text].tokens).unsqueeze(0);
    draw(text, row_of(logits, 0));
  }
  while (!additions.empty()) {
    const std::vector<GrowingTexts::Addition> drawn = std::exchange(additions, {});
    const at::Tensor logits = growing.add(drawn);
    for (std::size_t i = 0; i < drawn.size(); ++i)
      draw(static_cast<std::size_t>(drawn[i].text), row_of(logits, static_cast<std::int64_t>(i)));
  }
  return texts;
}

std::vector<std::int64_t> generate(const Transformer& network, std::span<const std::int64_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int64_t)>& on_token) {
  const std::vector<Prompt> prompts = {{{prompt.begin(), prompt.end()}, options.seed}};
  return generate_all(network, prompts, options, [&](std::size_t, std::int64_t token) { return on_token(token); })
      .front()
      .tokens;
}

}  // namespace kangpt::model
