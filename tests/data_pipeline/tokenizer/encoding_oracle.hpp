// An independent GPT-2 encoder for tests: the split by PCRE2, the merges by the textbook loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/tokenizer/vocabulary.hpp"

namespace kangpt::test {

// Owns a compiled pattern. Throws std::runtime_error.
class Pattern {
 public:
  explicit Pattern(const std::string& pattern);
  // The non-overlapping matches in `text`, which is valid UTF-8. Where the pattern matches everywhere, as GPT-2's does,
  // they concatenate to `text`.
  std::vector<std::string_view> matches(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

inline constexpr char kGpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// "14.0.0"
std::string pcre2_unicode_version();

// Merges the leftmost pair of lowest rank until there is none. Quadratic.
std::vector<std::uint32_t> merge_by_the_book(const data::Vocabulary& vocabulary, std::string_view word);

// Ids of `text` by both.
std::vector<std::uint32_t> encode_by_the_book(const data::Vocabulary& vocabulary, std::string_view text);

}  // namespace kangpt::test
