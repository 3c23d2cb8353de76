// GPT-2's way to write bytes as printable characters, in which vocabularies name their tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kangpt::data {

// Each byte is written as itself where it is printable, else as one of the characters from U+0100 on. The order of
// these characters, the printable bytes first, is the order of the ids of bytes in GPT-2's vocabulary.
const std::array<std::uint8_t, 256>& bytes_by_character() noexcept;

std::string characters_of_bytes(std::string_view bytes);
// Nothing if one of the characters stands for no byte.
std::optional<std::string> bytes_of_characters(std::string_view text);

}  // namespace kangpt::data
