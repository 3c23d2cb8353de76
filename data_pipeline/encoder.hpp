// Text to token ids: GPT-2's byte-pair encoding.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data_pipeline/vocabulary.hpp"

namespace kangpt::data {

// Gives exactly the ids of OpenAI's GPT-2 encoder (tiktoken's encode_ordinary). "<|endoftext|>" is ordinary text here.
// Remembers the ids of short words it met, in bounded memory. Borrows the vocabulary. One object a thread.
class Encoder {
 public:
  explicit Encoder(const Vocabulary& vocabulary);

  // Appends the ids of `text` to `ids`. Time grows almost linearly with text.size(), whatever the text.
  void encode(std::string_view text, std::vector<std::uint32_t>& ids);

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  struct CachedWord {
    std::array<char, 15> bytes{};
    std::uint8_t length = 0;  // 0: empty
    std::array<std::uint32_t, 3> ids{};
    std::uint32_t count = 0;
  };
  void encode_word(std::string_view word, std::vector<std::uint32_t>& ids);

  const Vocabulary& vocabulary_;
  std::vector<CachedWord> cache_;  // by hash of the word; a newer word replaces an older one
};

// Appends the ids of one word, without a cache. Exposed for tests.
void merge_word(const Vocabulary& vocabulary, std::string_view word, std::vector<std::uint32_t>& ids);

}  // namespace kangpt::data
