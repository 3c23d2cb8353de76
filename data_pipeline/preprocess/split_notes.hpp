// What kangpt_preprocess says of a split: its counts, and what in its text deserves a look.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data_pipeline/preprocess/block_encoder.hpp"
#include "data_pipeline/shards/manifest.hpp"

namespace kangpt::data {

enum class Stories { kSome, kNone };

// Follows the stories of one split. Not thread-safe.
class SplitNotes {
 public:
  void see_story(const EncodedStory& story, const std::string& source);
  // The first few are logged.
  void see_skipped(const std::vector<std::string>& problems, const std::string& source);
  // At its end.
  void see_source(const std::string& source, Stories stories) {
    ++sources_;
    if (stories == Stories::kNone) without_story_.push_back(source);
  }

  // Logs a warning for each kind of oddity that the split has, with the place of the first and what to do.
  void warn(const SplitRecord& split) const;

 private:
  struct Place {
    std::string source;
    std::uint64_t offset_bytes = 0;
  };
  // "" where only an earlier run saw it.
  static std::string text(const std::optional<Place>& place);

  std::optional<Place> separator_;  // of the first story with one in its text
  std::optional<Place> zero_byte_;
  std::optional<Place> byte_order_mark_;
  std::uint64_t sources_ = 0;
  std::vector<std::string> without_story_;
  std::size_t logged_ = 0;  // problems
};

struct SplitEffort {
  std::uint64_t bytes_read = 0;
  double seconds = 0;
};

// Prints the counts of a split on standard output, in one line.
void print_counts(const SplitRecord& split, const SplitEffort& effort);

// "1 separators in the text, 2 zero bytes, ..." of those that are not 0; "" if all are.
std::string text_of(const Oddities& odd);

}  // namespace kangpt::data
