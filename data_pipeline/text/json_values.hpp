// JSON text as a row of stories: its outermost values, and the text in each.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kangpt::data {

// Where in its source a text begins: it is the source's first, or follows an element of an array, or a value of several
// that stand one after the other.
enum class JsonPlace { kStart, kInArray, kInSequence };

// What stands where an object or a string is expected.
enum class OtherValues { kRefused, kTaken };

// What is wrong with a text, and at which of its bytes.
class JsonError : public std::runtime_error {
 public:
  JsonError(std::size_t position, const std::string& problem) : std::runtime_error(problem), position_(position) {}
  std::size_t position() const noexcept { return position_; }

 private:
  std::size_t position_;
};

// Walks over the outermost values: the elements where the source is one array, else all values. Between them it takes
// what JSON has there, and nothing else; where other values are taken, it gives them as if they were stories. Borrows
// the text.
class JsonValues {
 public:
  JsonValues(std::string_view text, JsonPlace place, OtherValues others = OtherValues::kRefused) noexcept;

  // The next object or string (or other value, where those are taken), from its first character to its last; what lies
  // between is not looked at. nullopt at the end. Throws JsonError.
  std::optional<std::string_view> next();

 private:
  enum class Expected { kAnything, kElementOrEnd, kElement, kCommaOrEnd, kValue, kNothing };

  std::string_view take_value();
  bool takes_other(char c) const noexcept;
  std::string_view take_other();
  void expect_more() noexcept;
  bool take_punctuation(char c) noexcept;
  [[noreturn]] void fail() const;

  std::string_view text_;
  std::size_t position_ = 0;
  Expected expected_;
  OtherValues others_;
};

// The bytes of an escape like \u00e9.
inline constexpr std::size_t kEscapeBytes = 6;

// The first escape at or after `from` that is half of a surrogate pair without the other half; json.size() if there is
// none. `from` is not within an escape.
std::size_t find_half_pair(std::string_view json, std::size_t from) noexcept;

// The story that `value` is, or has as its member `key` ("story" or "text" where `key` is empty). Throws JsonError
// where the value is not JSON, with the position in it, or has no such member. Holds no more of it than its longest
// string and the story.
std::string json_story(std::string_view value, const std::string& key);

}  // namespace kangpt::data
