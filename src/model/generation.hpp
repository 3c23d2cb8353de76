// Text from a network, one token at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "model/transformer.hpp"

namespace kangpt::model {

struct SamplingOptions {
  double temperature = 1;  // 0: greedy, the first of the most probable tokens
  std::int64_t top_k = 0;  // sample among the k most probable tokens; 0: all
  double top_p = 1;        // sample among the fewest most probable tokens that together have this probability
};

struct GenerationOptions {
  SamplingOptions sampling;
  std::uint64_t seed = 0;
  std::int64_t max_tokens = 64;
  std::int64_t window_tokens = 64;                // config::context_window_tokens() of the network's training
  std::optional<std::int64_t> end_token = 50256;  // ends the text; not returned
};

// Draws tokens from logits. The same seed gives the same sequence on every machine. Not thread-safe.
class Sampler {
 public:
  // Throws UsageError if an option is out of range: temperature negative or infinite, top_k < 0, top_p outside (0, 1].
  Sampler(const SamplingOptions& options, std::uint64_t seed);

  // An index into `logits`. REQUIRES: not empty. Infinity is more probable than all else, and -infinity impossible.
  // Throws DataError if one is NaN, or all are impossible.
  std::int64_t sample(std::span<const float> logits);

 private:
  double uniform();

  SamplingOptions options_;
  std::uint64_t state_;
};

// Why a text ended.
enum class TextEnd { kEndToken, kMaxTokens, kCaller };

struct Prompt {
  std::vector<std::int64_t> tokens;
  std::uint64_t seed = 0;
};

struct GeneratedText {
  std::vector<std::int64_t> tokens;  // the new ones
  TextEnd end = TextEnd::kMaxTokens;
};

// Continues all prompts at once, each as if it were alone; options.seed counts for nothing. Calls `on_token` with the
// prompt's index for each new token; a text stops where that returns false. Throws UsageError for an empty prompt.
std::vector<GeneratedText> generate_all(const Transformer& network, std::span<const Prompt> prompts,
                                        const GenerationOptions& options,
                                        const std::function<bool(std::size_t, std::int64_t)>& on_token);

// Continues `prompt`; returns the new tokens alone. The network sees the last window_tokens tokens. Calls `on_token`
// for each new token; stops where that returns false. Throws UsageError for an empty prompt.
std::vector<std::int64_t> generate(const Transformer& network, std::span<const std::int64_t> prompt,
                                   const GenerationOptions& options, const std::function<bool(std::int64_t)>& on_token);

}  // namespace kangpt::model
