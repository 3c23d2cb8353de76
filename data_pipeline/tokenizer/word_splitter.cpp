#include "data_pipeline/tokenizer/word_splitter.hpp"

#include <array>

#include "data_pipeline/tokenizer/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr auto kAsciiClasses = [] {
  std::array<CharClass, 128> classes{};
  for (std::size_t c = 0; c < classes.size(); ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    classes[c] = letter                 ? CharClass::kLetter
                 : c >= '0' && c <= '9' ? CharClass::kNumber
                 : space                ? CharClass::kSpace
                                        : CharClass::kOther;
  }
  return classes;
}();

struct Classified {
  CharClass character_class;
  std::size_t length_bytes;
};

Classified classify(std::string_view text, std::size_t position) noexcept {
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 128) return {kAsciiClasses[byte], 1};
  const Character character = decode_utf8(text.substr(position));
  if (character.length_bytes == 0) return {CharClass::kOther, 1};
  return {class_of(character.code_point), character.length_bytes};
}

std::size_t run_end(std::string_view text, std::size_t position, CharClass wanted) noexcept {
  while (position < text.size()) {
    const Classified next = classify(text, position);
    if (next.character_class != wanted) break;
    position += next.length_bytes;
  }
  return position;
}

// Of a run of white space: all of it at the end of the text; else all but its last character, which is left for the
// next word, unless there is nothing else.
std::size_t space_end(std::string_view text, std::size_t begin) noexcept {
  std::size_t last = begin;
  std::size_t end = begin;
  while (end < text.size()) {
    const Classified next = classify(text, end);
    if (next.character_class != CharClass::kSpace) return last == begin ? end : last;
    last = end;
    end += next.length_bytes;
  }
  return end;
}

}  // namespace

std::size_t contraction_length(std::string_view text, std::size_t position) noexcept {
  const auto at = [&](std::size_t i) { return position + i < text.size() ? text[position + i] : '\0'; };
  const char first = at(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const char second = at(2);
  return (second == 'e' && (first == 'r' || first == 'v')) || (first == 'l' && second == 'l') ? 3 : 0;
}

std::size_t word_end(std::string_view text, std::size_t begin) noexcept {
  if (text[begin] == '\'') {
    if (const std::size_t length = contraction_length(text, begin); length != 0) return begin + length;
  }
  const std::size_t body = begin + (text[begin] == ' ' && begin + 1 < text.size() ? 1 : 0);
  const Classified first = classify(text, body);
  if (first.character_class == CharClass::kSpace) return space_end(text, begin);
  return run_end(text, body + first.length_bytes, first.character_class);
}

}  // namespace kangpt::data
