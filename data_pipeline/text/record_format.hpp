// How a source's text is divided into stories: separator lines, JSON lines, JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data_pipeline/text/json_values.hpp"

namespace kangpt::data {

enum class TextFormat {
  kText,       // stories with a line <|endoftext|> after each
  kJsonLines,  // an object or a string a line
  kJson,       // an array of objects or strings, or objects one after the other
};

// The end of a file's name tells, in upper or lower case: .jsonl and .ndjson, .json, anything else is text; .gz and
// .zst after it don't count.
TextFormat format_of(const std::string& path);
// True for a name that ends with .txt, .jsonl, .ndjson or .json, and maybe .gz or .zst after it.
bool is_text_name(std::string_view name);
// True for a name that ends with .gz or .zst.
bool is_compressed_name(std::string_view name);

inline constexpr std::string_view kSeparator = "<|endoftext|>";
inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Where a separator ends a story.
enum class SeparatorPlace {
  kOwnLine,   // on a line of its own: white space around it, and a byte order mark before it, don't count
  kAnywhere,  // within a line too
};

enum class MoreText { kFollows, kNone };

struct Separator {
  std::size_t begin = 0;  // the story before it ends here,
  std::size_t end = 0;    // and the next one begins here
};

// The separator that the letters at `found` are, if they are one. `text` begins at a line; where more of it follows, a
// last line without its line feed may go on. Looks at the white space around `found` alone.
std::optional<Separator> separator_at(std::string_view text, std::size_t found, SeparatorPlace place, MoreText more);

// Finds where a growing text can be cut between two records. Stateful: sees the same text, grown at its end, or the
// rest after the last cut. Looks at each byte once or twice.
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

// `place` is of separators in text.
std::unique_ptr<RecordCutter> make_cutter(TextFormat format, SeparatorPlace place);

}  // namespace kangpt::data
