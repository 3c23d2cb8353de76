// A byte-pair vocabulary: token ids, their bytes, and which pairs merge.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::data {

namespace fs = std::filesystem;

// Two neighbours that become one token.
struct TokenMerge {
  std::uint32_t left = 0;
  std::uint32_t right = 0;
  std::uint32_t token = 0;
};

// How words become tokens.
enum class Merging {
  kListed,                 // by the merges that are listed
  kListedAfterWholeWords,  // a word that is a token is that token; else by the merges that are listed
  kByRank,                 // the same with the merges that the tokens themselves imply, as tiktoken has it
};

// What a vocabulary is made of.
struct VocabularyParts {
  std::vector<std::string> tokens;     // bytes of each id: all single bytes are among them; of special tokens, the name
  std::vector<TokenMerge> merges;      // in the order in which they are tried; empty for kByRank
  std::vector<std::uint32_t> special;  // ids that no text is encoded to, rising; <|endoftext|> is one
  std::uint32_t end_of_text = 0;
  Merging merging = Merging::kListed;
};

// The file that says all about a vocabulary, as it is kept beside data and runs.
struct VocabularyFile {
  std::string name;  // tokenizer.json, vocab.bpe or vocab.tiktoken
  std::string content;
};

// Immutable; any number of threads may share one.
class Vocabulary {
 public:
  static constexpr std::uint32_t kNoToken = 0xFFFFFFFFU;

  // Reads one of
  //   OpenAI's vocab.bpe, Hugging Face's merges.txt (with or without a "#version" line): the ids are those of GPT-2,
  //     256 bytes, then one token a merge in the order of the file, then <|endoftext|>;
  //   tokenizer.json, or vocab.json with merges.txt beside it: byte-level BPE with GPT-2's splitting;
  //   .tiktoken: the ids are the ranks, then comes <|endoftext|>;
  // or the one of them that lies in the folder `file`. Throws MissingInputError, or DataError with the line or the
  // member that is wrong or can't be done exactly.
  static Vocabulary load(const fs::path& file);

  // `parts` have to be consistent, as the readers make them.
  Vocabulary(VocabularyParts parts, VocabularyFile file);

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(offsets_.size() - 1); }
  std::uint32_t end_of_text() const noexcept { return end_of_text_; }
  // In rising order; end_of_text() is one of them.
  const std::vector<std::uint32_t>& special_tokens() const noexcept { return special_; }
  bool is_special(std::uint32_t id) const noexcept;
  // Of the file.
  const std::string& sha256() const noexcept { return sha256_; }
  const VocabularyFile& file() const noexcept { return file_; }

  // The bytes a token stands for; the name of a special token. Throws DataError if id >= size().
  std::string_view token_bytes(std::uint32_t id) const;
  std::string decode(std::span<const std::int64_t> ids) const;

  std::uint32_t token_of_byte(unsigned char byte) const noexcept { return token_of_byte_[byte]; }
  // The token that a whole word is before any merging, or kNoToken.
  std::uint32_t token_of_word(std::string_view word) const noexcept;
  bool takes_whole_words() const noexcept { return !words_.empty(); }

  // In the order in which they are tried: their rank.
  const std::vector<TokenMerge>& merges() const noexcept { return merges_; }
  // Of the merge of two neighbours, or kNoToken. The lowest rank merges first.
  std::uint32_t rank_of(std::uint32_t left, std::uint32_t right) const noexcept {
    const std::uint64_t key = (std::uint64_t{left} << 32) | right;
    for (std::uint64_t slot = hash(key);; ++slot) {
      const Slot& found = slots_[slot & slot_mask_];
      if (found.key == key) return found.rank;
      if (found.rank == kNoToken) return kNoToken;
    }
  }

 private:
  struct Slot {
    std::uint64_t key = ~std::uint64_t{0};
    std::uint32_t rank = kNoToken;
  };
  static std::uint64_t hash(std::uint64_t key) noexcept { return (key * 0x9E3779B97F4A7C15U) >> 32; }
  void index_merges();
  void insert_slot(const TokenMerge& merge, std::uint32_t rank);
  void find_implied_merges();
  void insert_words();

  std::string bytes_;                   // of all tokens, one after the other
  std::vector<std::uint64_t> offsets_;  // [size + 1] into bytes_
  std::vector<std::uint32_t> special_;
  std::uint32_t end_of_text_;
  std::array<std::uint32_t, 256> token_of_byte_{};
  std::vector<TokenMerge> merges_;
  std::vector<Slot> slots_;  // ranks by pair: open addressing, a power of two
  std::uint64_t slot_mask_ = 0;
  std::vector<std::uint32_t> words_;  // tokens by the hash of their bytes, open addressing; none where merges say all
  VocabularyFile file_;
  std::string sha256_;
};

// The vocabulary file in a folder: tokenizer.json, vocab.json, vocab.bpe, merges.txt or vocab.tiktoken, the first that
// is there; an empty path where none is.
fs::path vocabulary_in(const fs::path& folder);

// The vocabulary that kangpt_preprocess or a run left in `folder`, known by the SHA-256 of its file; nothing where
// there is none. Throws what reading throws.
std::optional<Vocabulary> kept_vocabulary(const fs::path& folder, const std::string& sha256);
// Leaves it there under its file's name, instead of another one that was left there if `others` says so.
enum class OtherVocabularies { kLeave, kRemove };
void keep_vocabulary(const Vocabulary& vocabulary, const fs::path& folder, OtherVocabularies others);

// gpt2/vocab.bpe beside the installed programs, else that in ${KANGPT_CACHE:-~/.cache/kangpt}, whether or not it is
// there; empty where nothing names a cache.
fs::path gpt2_vocabulary();

// `given` if it is not empty, else the vocabulary in the first of the folders that has one, else GPT-2's. Throws
// MissingInputError with the command that makes the file if it is not there.
fs::path find_vocabulary(const std::string& given, const std::vector<fs::path>& folders = {});

}  // namespace kangpt::data
