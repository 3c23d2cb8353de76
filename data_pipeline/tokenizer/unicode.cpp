#include "data_pipeline/tokenizer/unicode.hpp"

#include <array>
#include <cstring>

#include "data_pipeline/tokenizer/unicode_table.hpp"

namespace kangpt::data {
namespace {

struct LeadByte {
  std::uint8_t length;        // of the whole character; 0: not a lead byte
  std::uint8_t second_first;  // allowed range of the second byte
  std::uint8_t second_last;
};

constexpr LeadByte lead_byte(unsigned byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0)
    return {3, static_cast<std::uint8_t>(byte == 0xE0 ? 0xA0 : 0x80),
            static_cast<std::uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
  if (byte < 0xF5)
    return {4, static_cast<std::uint8_t>(byte == 0xF0 ? 0x90 : 0x80),
            static_cast<std::uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

constexpr auto kLeadBytes = [] {
  std::array<LeadByte, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) table[byte] = lead_byte(byte);
  return table;
}();

// Bytes at the beginning of `text` that could begin a character, at least 1.
std::size_t ill_formed_length(std::string_view text) noexcept {
  const LeadByte lead = kLeadBytes[static_cast<unsigned char>(text[0])];
  std::size_t length = 1;
  while (length < lead.length && length < text.size()) {
    const auto byte = static_cast<unsigned char>(text[length]);
    const unsigned first = length == 1 ? lead.second_first : 0x80;
    const unsigned last = length == 1 ? lead.second_last : 0xBF;
    if (byte < first || byte > last) break;
    ++length;
  }
  return length;
}

}  // namespace

std::string_view unicode_version() noexcept {
  return unicode_table::kVersion;
}

CharClass class_of(std::uint32_t code_point) noexcept {
  if (code_point >= 0x110000) return CharClass::kOther;
  const std::size_t page = unicode_table::kPageOfBlock[code_point >> 8];
  const unsigned four = unicode_table::kPages[page * 64 + ((code_point & 0xFFU) >> 2)];
  return static_cast<CharClass>((four >> (2 * (code_point & 3U))) & 3U);
}

Character decode_utf8(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const LeadByte lead = kLeadBytes[byte(0)];
  if (lead.length == 1) return {byte(0), 1};
  if (lead.length == 0 || lead.length > text.size()) return {0, 0};
  if (byte(1) < lead.second_first || byte(1) > lead.second_last) return {0, 0};
  std::uint32_t value = byte(0) & (0x7FU >> lead.length);
  for (std::size_t i = 1; i < lead.length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {0, 0};
    value = (value << 6) | (byte(i) & 0x3FU);
  }
  return {value, lead.length};
}

std::size_t valid_utf8_prefix(std::string_view text) noexcept {
  std::size_t position = 0;
  while (position < text.size()) {
    std::uint64_t eight = 0;
    if (text.size() - position >= 8) {
      std::memcpy(&eight, text.data() + position, 8);
      if ((eight & 0x8080808080808080U) == 0) {
        position += 8;
        continue;
      }
    }
    const Character character = decode_utf8(text.substr(position));
    if (character.length_bytes == 0) return position;
    position += character.length_bytes;
  }
  return position;
}

Replaced replace_invalid_utf8(std::string_view text) {
  Replaced result;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    result.text.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    const std::size_t bad = ill_formed_length(text);
    result.text += "\xEF\xBF\xBD";
    result.replaced_bytes += bad;
    text.remove_prefix(bad);
  }
  return result;
}

}  // namespace kangpt::data
