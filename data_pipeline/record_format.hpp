// How a source's text is divided into stories: separator lines, JSON lines, JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "data_pipeline/json_values.hpp"

namespace kangpt::data {

enum class TextFormat {
  kText,       // stories with a line <|endoftext|> after each
  kJsonLines,  // an object or a string a line
  kJson,       // an array of objects or strings, or objects one after the other
};

// By the end of the name: .jsonl and .ndjson, .json, anything else is text; .gz and .zst after it don't count.
TextFormat format_of(const std::string& path);

// A line that is only this, white space around it aside, ends a story.
inline constexpr std::string_view kSeparator = "<|endoftext|>";

enum class MoreText { kFollows, kNone };

// The position after the last separator line in `text`, which begins at a line; 0 if there is none. Where more text
// follows, a last line without its line feed may go on and does not count.
std::size_t after_last_separator(std::string_view text, MoreText more) noexcept;

// Finds where a growing text can be cut between two records. Stateful: sees the same text, grown at its end, or the
// rest after the last cut.
class RecordCutter {
 public:
  virtual ~RecordCutter() = default;
  // The end of the last whole record in `pending`, from the last cut on; 0 if there is none.
  virtual std::size_t cut(std::string_view pending) = 0;
  // True if the source may end after all that cut() saw.
  virtual bool may_end() const noexcept { return true; }
  // After a cut: where in its source the text behind it begins.
  virtual JsonPlace json_place() const noexcept { return JsonPlace::kInSequence; }
};

std::unique_ptr<RecordCutter> make_cutter(TextFormat format);

}  // namespace kangpt::data
