// Classes of characters as GPT-2's split pattern sees them, and decoding of UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kangpt::data {

// \p{L}, \p{N} and White_Space of the pinned Unicode version; everything else is kOther.
enum class CharClass : std::uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

// The pinned version, "16.0.0".
std::string_view unicode_version() noexcept;

CharClass class_of(std::uint32_t code_point) noexcept;

struct Character {
  std::uint32_t code_point = 0;
  std::uint32_t length_bytes = 0;  // 0: the bytes here are not valid UTF-8
};

// The character at the beginning of `text`, which is not empty. Overlong forms, surrogates and values past U+10FFFF are
// invalid (Unicode standard, table 3-7).
Character decode_utf8(std::string_view text) noexcept;

// Offset of the first byte that is not valid UTF-8, or text.size().
std::size_t valid_utf8_prefix(std::string_view text) noexcept;

// Each maximal ill-formed part becomes one U+FFFD, as the Unicode standard recommends and Python's "replace" does.
struct Replaced {
  std::string text;
  std::size_t replaced_bytes = 0;  // bytes of the input that were not valid
};
Replaced replace_invalid_utf8(std::string_view text);

}  // namespace kangpt::data
