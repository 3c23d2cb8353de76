// The files that hold vocabularies: reading each kind, writing tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/tokenizer/vocabulary.hpp"

namespace kangpt::data {

struct ReadVocabulary {
  VocabularyParts parts;
  VocabularyFile file;
};

// Of any kind, by name: what Vocabulary::load() says.
ReadVocabulary read_vocabulary(const fs::path& file);

// Each of these takes the content of `file`, which names it in messages. They throw DataError with the place.
VocabularyParts read_merges(const fs::path& file, std::string_view content);
VocabularyParts read_tiktoken(const fs::path& file, std::string_view content);
VocabularyParts read_tokenizer_json(const fs::path& file, std::string_view content);

// vocab.json says which id a token has, merges.txt what merges.
struct VocabularyPair {
  fs::path ids_file;
  std::string_view ids;
  fs::path merges_file;
  std::string_view merges;
};
VocabularyParts read_pair(const VocabularyPair& pair);

// A tokenizer.json that reads as the same vocabulary, here and with Python's `tokenizers` (0.19 or later), which
// encodes text to the same ids.
std::string tokenizer_json(const VocabularyParts& parts);
std::string tokenizer_json(const Vocabulary& vocabulary);

// A vocab.bpe of a vocabulary whose ids are in GPT-2's order.
std::string merges_text(const Vocabulary& vocabulary);

inline constexpr std::uint32_t kMaximumTokens = 1U << 20;
inline constexpr std::string_view kEndOfText = "<|endoftext|>";
// Names of the token after a text, the first that is there counts.
inline constexpr std::string_view kEndOfTextNames[] = {kEndOfText, "<|end_of_text|>", "</s>", "<eos>"};

// A reader's lines that are not empty, each of two fields with one space between them.
class TwoFieldLines {
 public:
  TwoFieldLines(fs::path file, std::string_view content) : file_(std::move(file)), content_(content) {}

  // Goes on to the next line; false at the end.
  bool next();
  std::string_view line() const noexcept { return line_; }
  std::size_t line_number() const noexcept { return line_number_; }
  struct Fields {
    std::string_view first, second;
  };
  Fields fields() const;
  // Throws DataError that names the line.
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  fs::path file_;
  std::string_view content_;
  std::size_t position_ = 0;
  std::size_t line_number_ = 0;
  std::string_view line_;
};

}  // namespace kangpt::data
