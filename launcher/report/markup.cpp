#include "launcher/report/markup.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "base/format.hpp"

namespace kangpt::report {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

template <typename... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, args...);
  return buffer.data();
}

// Bytes of the character that `text` begins with; 0 where those are no UTF-8 or a character that XML forbids.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const unsigned first = byte(0);
  const std::size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  std::uint32_t code = length == 1 ? first : first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return 0;
    code = code << 6 | (byte(i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code < 0xE000;
  const bool is_c1_control = code >= 0x80 && code < 0xA0;
  if (code < kLeast[length] || is_surrogate || is_c1_control || code > 0x10FFFF || (code & 0xFFFE) == 0xFFFE) return 0;
  return length;
}

void append_ascii(char character, std::string& markup) {
  switch (character) {
    case '&':
      markup += "&amp;";
      return;
    case '<':
      markup += "&lt;";
      return;
    case '>':
      markup += "&gt;";
      return;
    case '"':
      markup += "&quot;";
      return;
    case '\'':
      markup += "&#39;";
      return;
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(character);
  if (byte == 0x7F) {
    markup += "\xE2\x90\xA1";  // U+2421
  } else if (byte < 0x20 && character != '\n' && character != '\t') {
    markup += {'\xE2', '\x90', static_cast<char>(0x80 + byte)};  // U+2400 + byte
  } else {
    markup += character;
  }
}

// "1.50e-04" -> "1.5e-4"
std::string without_exponent_zeros(std::string text) {
  const std::size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  std::size_t digits = exponent + 1;
  if (text[digits] == '+') text.erase(digits, 1);
  if (text[digits] == '-') ++digits;
  while (digits + 1 < text.size() && text[digits] == '0') text.erase(digits, 1);
  return text;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string markup;
  markup.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    if (length == 0) {
      markup += kReplacement;
    } else if (length == 1) {
      append_ascii(text.front(), markup);
    } else {
      markup += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return markup;
}

std::string element(std::string_view opening, std::string_view markup) {
  std::string text = "<";
  text += opening;
  text += '>';
  text += markup;
  text += "</";
  text += opening.substr(0, opening.find(' '));
  text += '>';
  return text;
}

std::string text_element(std::string_view opening, std::string_view text) {
  return element(opening, escaped(text));
}

std::string fixed(double value, int decimals) {
  return std::isfinite(value) ? print("%.*f", decimals, value) : "not finite";
}

std::string number(double value) {
  if (!std::isfinite(value)) return "not finite";
  const double size = std::abs(value);
  if (size >= 1e15) return without_exponent_zeros(print("%.3e", value));
  if (size >= 999.5) return (value < 0 ? "-" : "") + base::format_count(static_cast<std::uint64_t>(std::llround(size)));
  return without_exponent_zeros(print("%.4g", value));
}

std::string short_number(double value) {
  struct Unit {
    double size;
    const char* name;
  };
  static constexpr std::array<Unit, 4> kUnits = {{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
  if (std::abs(value) < 1e15) {
    for (const Unit& unit : kUnits) {
      if (std::abs(value) >= unit.size * (1 - 1e-9)) return print("%.10g", value / unit.size) + unit.name;
    }
    if (std::abs(value) >= 0.0099) return print("%.10g", value);
  }
  return without_exponent_zeros(print("%.6g", value));
}

std::string time_text(double unix_seconds) {
  if (!(unix_seconds >= 0 && unix_seconds < 253402300800.0)) return "an unknown time";  // year 10000
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> buffer{};
  std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return buffer.data();
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~,/";
  std::string encoded;
  encoded.reserve(text.size() + text.size() / 4);
  for (const char character : text) {
    const bool is_plain = kPlain.find(character) != std::string_view::npos;
    is_plain ? encoded += character
             : encoded += print("%%%02X", static_cast<unsigned>(static_cast<unsigned char>(character)));
  }
  return encoded;
}

}  // namespace kangpt::report
