// Cuts a source into blocks of whole stories that can be encoded independently.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace kangpt::data {

namespace fs = std::filesystem;

// A line that is only this, white space around it aside, ends a story.
inline constexpr char kSeparator[] = "<|endoftext|>";

struct TextBlock {
  std::uint64_t offset_bytes = 0;  // of `text` in the source
  std::string text;                // whole stories
};

// Reads one source from front to back. Where blocks are cut depends on the content alone. Not thread-safe.
class TextBlocks {
 public:
  // "-" is standard input. Throws MissingInputError, IoError.
  explicit TextBlocks(const std::string& path);
  TextBlocks(const TextBlocks&) = delete;
  TextBlocks& operator=(const TextBlocks&) = delete;
  ~TextBlocks();

  // The next block; nullopt at the end. A byte order mark at the beginning is left out. Throws IoError, and DataError
  // for a file that is not text or a story of more than 16 MiB.
  std::optional<TextBlock> next();

  // Bytes of the file read so far; any thread may ask.
  std::uint64_t bytes_read() const noexcept;
  // Of all bytes, once next() gave nullopt.
  std::string sha256();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The position after the last separator line in `text`, which begins at a line; 0 if there is none. Where `at_end` is
// false, a last line without its line feed may go on and does not count.
enum class MoreText { kFollows, kNone };
std::size_t after_last_separator(std::string_view text, MoreText more) noexcept;

}  // namespace kangpt::data
