// The stories of a block of text.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/text/oddities.hpp"
#include "data_pipeline/text/record_format.hpp"
#include "data_pipeline/text/text_blocks.hpp"
#include "data_pipeline/tokenizer/word_scanner.hpp"

namespace kangpt::data {

enum class InvalidUtf8 { kError, kReplace };
enum class InvalidRecords { kError, kSkip };

struct StoryOptions {
  TextFormat format = TextFormat::kText;
  std::string source;  // for messages
  std::string key;     // of JSON objects; empty: "story" or "text"
  InvalidUtf8 invalid_utf8 = InvalidUtf8::kError;
  InvalidRecords invalid_records = InvalidRecords::kError;
  SeparatorPlace separators = SeparatorPlace::kOwnLine;  // kAnywhere: those in JSON strings too
};

struct Story {
  PaddedText text;  // valid UTF-8, white space at both ends stripped; may be empty
  std::uint64_t replaced_bytes = 0;
  std::uint64_t offset_bytes = 0;  // where it, or its JSON, begins in the decompressed source
  Oddities odd;                    // with skipped_records it is no story, but in the place of one
};

// Finds all stories of `block`, empty ones included. Their texts lie in the block or here: both have to stay. Throws
// DataError with the byte where the source is wrong.
class BlockStories {
 public:
  BlockStories(const TextBlock& block, const StoryOptions& options);
  const std::vector<Story>& stories() const noexcept { return stories_; }
  // What is wrong with the first records that were skipped, and where they are.
  const std::vector<std::string>& problems() const noexcept { return problems_; }

 private:
  void split_text(std::string_view text);
  void split_lines(std::string_view text);
  void split_json(std::string_view text);
  void add_json(std::string_view value);
  void add_record(std::string_view text, std::uint64_t replaced_bytes, std::uint64_t offset_bytes);
  void add(Story story);
  void skip(std::uint64_t offset_bytes, const std::string& problem);
  [[noreturn]] void fail_json(std::uint64_t offset_bytes, const std::string& problem) const;
  std::string place_of(std::uint64_t offset_bytes) const;
  std::string_view valid_utf8(std::string_view text, std::uint64_t& replaced_bytes);
  std::string_view without_half_pairs(std::string_view json, std::string_view value, std::uint64_t& replaced_bytes);
  std::string_view keep(std::string text);
  std::uint64_t offset_of(std::string_view text) const noexcept;

  const TextBlock& block_;
  const StoryOptions& options_;
  std::vector<Story> stories_;
  std::vector<std::string> problems_;
  std::deque<std::string> kept_;  // texts that do not lie in the block, padded
};

}  // namespace kangpt::data
