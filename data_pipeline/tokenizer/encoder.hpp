// Text to token ids: GPT-2's byte-pair encoding.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "data_pipeline/tokenizer/word_cache.hpp"
#include "data_pipeline/tokenizer/word_scanner.hpp"

namespace kangpt::data {

// Gives exactly the ids of OpenAI's GPT-2 encoder (tiktoken's encode_ordinary). "<|endoftext|>" is ordinary text here.
// Remembers the ids of short words it met, in bounded memory. Borrows the vocabulary. One object a thread.
class Encoder {
 public:
  explicit Encoder(const Vocabulary& vocabulary, WordScanner::Method method = WordScanner::Method::kBest);

  // Appends the ids of `text` to `ids`. Time grows almost linearly with the size of the text, whatever the text.
  void encode(PaddedText text, std::vector<std::uint32_t>& ids);
  // The same for a text without padding, which is copied.
  void encode(std::string_view text, std::vector<std::uint32_t>& ids);

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  static constexpr std::size_t kBatchWords = 512;
  static constexpr std::uint32_t kNotCached = 0xFFFFFFFFU;  // in place of a bucket

  // Words are looked up in two passes, so that the memory for all of a batch is fetched while the first are looked at.
  struct Batch {
    std::array<std::uint32_t, kBatchWords + 1> starts;
    std::array<WordKey, kBatchWords> keys;
    std::array<std::uint32_t, kBatchWords> buckets;
    std::array<std::uint32_t, kBatchWords * WordCache::kMostIds> ids;
  };
  void prepare(std::string_view text, std::size_t words);
  void look_up(std::string_view text, std::size_t words, std::vector<std::uint32_t>& ids);
  void encode_new_word(std::string_view text, std::size_t word, std::vector<std::uint32_t>& ids);

  const Vocabulary& vocabulary_;
  WordScanner::Method method_;
  WordCache cache_;
  Batch batch_;
  std::string padded_;  // a copy of a text without padding
};

// Appends the ids of one word, without a cache.
void merge_word(const Vocabulary& vocabulary, std::string_view word, std::vector<std::uint32_t>& ids);

}  // namespace kangpt::data
