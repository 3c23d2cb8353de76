// How a text begins: a prompt as the network reads it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/tokenizer/vocabulary.hpp"

namespace kangpt::data {

// "<|endoftext|>" is the end-of-text token, behind which a new story begins, and likewise the names of other special
// tokens; an empty prompt is the end-of-text token alone.
std::vector<std::int64_t> prompt_tokens(const Vocabulary& vocabulary, std::string_view prompt);

// What of the prompt belongs to the text: all but the end-of-text tokens before it.
std::string_view prompt_text(const Vocabulary& vocabulary, std::string_view prompt);

// "has 40 tokens, and the network sees 31 at a time: the first 9 have no influence on the text"; empty where all fit.
std::string prompt_excess(std::size_t tokens, int window_tokens);

}  // namespace kangpt::data
