// GPT-2's split of text into words: no merge ever crosses the border of a word.
#pragma once

#include <cstddef>
#include <string_view>

namespace kangpt::data {

// The end of the word that begins at `begin` < text.size(), as the pattern
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// of OpenAI's GPT-2 encoder finds it. `begin` has to be the begin of the text or the end of a word. A byte that is not
// valid UTF-8 counts as a character that is neither letter nor number nor space.
std::size_t word_end(std::string_view text, std::size_t begin) noexcept;

// Length of one of 's 't 're 've 'm 'll 'd at `position`, where an apostrophe stands, or 0.
std::size_t contraction_length(std::string_view text, std::size_t position) noexcept;

}  // namespace kangpt::data
