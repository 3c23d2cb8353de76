#include "data_pipeline/tokenizer/byte_characters.hpp"

#include "data_pipeline/tokenizer/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr std::uint32_t kFirstSubstitute = 0x100;
constexpr std::uint32_t kCharacters = kFirstSubstitute + 68;  // 68 bytes are not printable

constexpr bool printable(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
}

struct ByteTables {
  std::array<std::uint8_t, 256> bytes{};  // in the order of their characters
  std::array<std::uint32_t, 256> character_of_byte{};
  std::array<std::int16_t, kCharacters> byte_of_character{};  // -1: of none
};

constexpr ByteTables make_tables() {
  ByteTables tables;
  tables.byte_of_character.fill(-1);
  std::size_t count = 0;
  const auto add = [&](unsigned byte, std::uint32_t character) {
    tables.bytes[count++] = static_cast<std::uint8_t>(byte);
    tables.character_of_byte[byte] = character;
    tables.byte_of_character[character] = static_cast<std::int16_t>(byte);
  };
  for (unsigned byte = 0; byte < 256; ++byte)
    if (printable(byte)) add(byte, byte);
  std::uint32_t substitute = kFirstSubstitute;
  for (unsigned byte = 0; byte < 256; ++byte)
    if (!printable(byte)) add(byte, substitute++);
  return tables;
}

constexpr ByteTables kTables = make_tables();

}  // namespace

const std::array<std::uint8_t, 256>& bytes_by_character() noexcept {
  return kTables.bytes;
}

std::string characters_of_bytes(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const std::uint32_t character = kTables.character_of_byte[static_cast<unsigned char>(c)];
    if (character < 0x80) {
      text += static_cast<char>(character);
    } else {
      text += static_cast<char>(0xC0U | (character >> 6));
      text += static_cast<char>(0x80U | (character & 0x3FU));
    }
  }
  return text;
}

std::optional<std::string> bytes_of_characters(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Character character = decode_utf8(text);
    if (character.length_bytes == 0 || character.code_point >= kCharacters) return std::nullopt;
    const int byte = kTables.byte_of_character[character.code_point];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    text.remove_prefix(character.length_bytes);
  }
  return bytes;
}

}  // namespace kangpt::data
