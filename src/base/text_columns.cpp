#include "base/text_columns.hpp"

#include <algorithm>
#include <array>
#include <clocale>
#include <cmath>
#include <cstdint>
#include <cwchar>
#include <iterator>
#include <vector>

namespace kangpt::base {
namespace {

constexpr char kEscape = '\x1b';
constexpr std::string_view kColoursOff = "\x1b[0m";
constexpr std::string_view kCutMark = "...";

// One thing on a terminal: a character, or an escape code.
struct Piece {
  std::size_t bytes = 1;
  int columns = 1;
};

// wcwidth() asks the locale of the thread, and programs here set none.
class Utf8Locale {
 public:
  Utf8Locale() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = ::uselocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;
  ~Utf8Locale() {
    if (locale_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  bool is_there() const noexcept { return locale_ != nullptr; }

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

// "\x1b[" parameters and a letter; any other one is of two bytes.
std::size_t escape_bytes(std::string_view text) {
  if (text.size() < 2 || text[1] != '[') return std::min<std::size_t>(text.size(), 2);
  std::size_t end = 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
  return std::min(end + 1, text.size());
}

// REQUIRES: `text` is not empty. A byte that begins no character of UTF-8 counts as a column.
Piece first_piece(std::string_view text, const Utf8Locale& locale) {
  if (text[0] == kEscape) return {escape_bytes(text), 0};
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {1, lead < ' ' || lead == 0x7f ? 0 : 1};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  if (bytes == 1 || bytes > text.size()) return {};
  std::uint32_t character = lead & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0U) != 0x80) return {};
    character = character << 6U | (next & 0x3fU);
  }
  const int columns = locale.is_there() ? ::wcwidth(static_cast<wchar_t>(character)) : 1;
  return {bytes, std::max(columns, 0)};
}

// The bytes of the longest beginning that fits, with what takes no column behind it.
std::size_t bytes_that_fit(std::string_view text, int columns) {
  const Utf8Locale locale;
  std::size_t end = 0;
  while (end < text.size()) {
    const Piece piece = first_piece(text.substr(end), locale);
    if (piece.columns > columns) break;
    columns -= piece.columns;
    end += piece.bytes;
  }
  return end;
}

}  // namespace

int columns_of(std::string_view text) {
  const Utf8Locale locale;
  int columns = 0;
  while (!text.empty()) {
    const Piece piece = first_piece(text, locale);
    columns += piece.columns;
    text.remove_prefix(piece.bytes);
  }
  return columns;
}

std::string cut_to_columns(std::string_view text, int columns) {
  if (columns_of(text) <= columns) return std::string(text);
  const auto mark_columns = static_cast<int>(kCutMark.size());
  const std::string_view mark = columns > 2 * mark_columns ? kCutMark : "";
  std::string cut(text.substr(0, bytes_that_fit(text, columns - static_cast<int>(mark.size()))));
  cut += mark;
  if (cut.find(kEscape) != std::string::npos) cut += kColoursOff;
  return cut;
}

std::string sparkline(std::span<const double> values, int columns, const LineStyle& style) {
  static constexpr std::array kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array kSigns = {"_", ".", "-", ":", "=", "+", "*", "#"};
  std::vector<double> finite;
  std::ranges::copy_if(values, std::back_inserter(finite), [](double value) { return std::isfinite(value); });
  const std::size_t count = std::min(finite.size(), static_cast<std::size_t>(std::max(columns, 0)));
  if (count == 0) return "";
  std::vector<double> means(count, 0);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i * finite.size() / count, end = (i + 1) * finite.size() / count;
    for (std::size_t j = begin; j < end; ++j) means[i] += finite[j] / static_cast<double>(end - begin);
  }
  const auto [low, high] = std::ranges::minmax(means);
  std::string line;
  for (const double mean : means) {
    const double height = high > low ? (mean - low) / (high - low) : 0;
    const auto level = static_cast<std::size_t>(std::lround(height * (kBlocks.size() - 1)));
    line += style.utf8 ? kBlocks[level] : kSigns[level];
  }
  return line;
}

std::string coloured(std::string_view text, std::string_view code, const LineStyle& style) {
  if (!style.colours) return std::string(text);
  return "\x1b[" + std::string(code) + std::string(text) + std::string(kColoursOff);
}

}  // namespace kangpt::base
