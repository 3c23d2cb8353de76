#include "tools/generation/utf8_stream.hpp"

#include <algorithm>
#include <utility>

namespace kangpt::tools {
namespace {

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0U) == 0x80U;
}

// Bytes of the character that `lead` begins; 1 for a byte that begins none.
std::size_t character_size(unsigned char lead) {
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  return 1;
}

// Bytes at the end of `text` that begin a character without ending it.
std::size_t unfinished_bytes(std::string_view text) {
  for (std::size_t size = 1; size <= std::min<std::size_t>(3, text.size()); ++size) {
    const auto byte = static_cast<unsigned char>(text[text.size() - size]);
    if (!is_continuation(byte)) return character_size(byte) > size ? size : 0;
  }
  return 0;
}

}  // namespace

std::string Utf8Stream::add(std::string_view bytes) {
  std::string text = std::exchange(held_, {}).append(bytes);
  const std::size_t unfinished = unfinished_bytes(text);
  held_ = text.substr(text.size() - unfinished);
  text.resize(text.size() - unfinished);
  return text;
}

std::string Utf8Stream::finish() {
  return std::exchange(held_, {});
}

}  // namespace kangpt::tools
