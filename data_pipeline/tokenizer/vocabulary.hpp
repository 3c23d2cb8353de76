// A byte-pair vocabulary: token ids, their bytes, and which pairs merge.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::data {

namespace fs = std::filesystem;

// Read from OpenAI's vocab.bpe, Hugging Face's merges.txt (with or without a "#version" line) or a .tiktoken file. Ids:
// the 256 bytes, then one token a merge in the order of the file, then <|endoftext|>. A lower id merges first. A word
// that is a token of a .tiktoken file is that token, as tiktoken has it, whether or not merges reach it. Immutable; any
// number of threads may share one.
class Vocabulary {
 public:
  static constexpr std::uint32_t kNoToken = 0xFFFFFFFFU;

  // Throws MissingInputError, or DataError with the line that is wrong.
  static Vocabulary load(const fs::path& file);

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(offsets_.size() - 1); }
  std::uint32_t end_of_text() const noexcept { return size() - 1; }
  // Of the file it was read from.
  const std::string& sha256() const noexcept { return sha256_; }

  // The bytes a token stands for; "<|endoftext|>" for that token. Throws DataError if id >= size().
  std::string_view token_bytes(std::uint32_t id) const;
  std::string decode(std::span<const std::int64_t> ids) const;

  std::uint32_t token_of_byte(unsigned char byte) const noexcept { return token_of_byte_[byte]; }
  // The token that a whole word is before any merging: of a .tiktoken file alone, else kNoToken.
  std::uint32_t token_of_word(std::string_view word) const noexcept;
  // The token that two neighbours merge into, or kNoToken.
  std::uint32_t merged(std::uint32_t left, std::uint32_t right) const noexcept {
    const std::uint64_t key = (std::uint64_t{left} << 32) | right;
    for (std::uint64_t slot = hash(key);; ++slot) {
      const Merge& merge = merges_[slot & slot_mask_];
      if (merge.key == key) return merge.token;
      if (merge.token == kNoToken) return kNoToken;
    }
  }

 private:
  struct Merge {
    std::uint64_t key = ~std::uint64_t{0};
    std::uint32_t token = kNoToken;
  };
  friend class VocabularyReader;
  static std::uint64_t hash(std::uint64_t key) noexcept { return (key * 0x9E3779B97F4A7C15U) >> 32; }

  std::string bytes_;                   // of all tokens, one after the other
  std::vector<std::uint64_t> offsets_;  // [size + 1] into bytes_
  std::array<std::uint32_t, 256> token_of_byte_{};
  std::vector<Merge> merges_;  // open addressing, a power of two
  std::uint64_t slot_mask_ = 0;
  std::vector<std::uint32_t> words_;  // tokens by the hash of their bytes, open addressing; none where merges say all
  std::string sha256_;
};

// `given` if it is not empty, else gpt2/vocab.bpe beside the installed programs, else that in
// ${KANGPT_CACHE:-~/.cache/kangpt}. Throws MissingInputError with
// the command that makes the file if it is not there.
fs::path find_vocabulary(const std::string& given);

}  // namespace kangpt::data
