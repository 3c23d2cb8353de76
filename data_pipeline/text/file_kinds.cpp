#include "data_pipeline/text/file_kinds.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "data_pipeline/tokenizer/unicode.hpp"

namespace kangpt::data {
namespace {

using namespace std::string_view_literals;

struct FileKind {
  std::size_t offset;
  std::string_view magic;
  std::string_view name;
};
constexpr std::array<FileKind, 11> kNotText = {{{0, "PK\x03\x04", "a zip archive"},
                                                {0, "PAR1", "a Parquet file"},
                                                {0, "ARROW1", "an Arrow file"},
                                                {0, "\x89HDF", "an HDF5 file"},
                                                {0, "\x7F\x45LF", "a program"},
                                                {0, "%PDF", "a PDF document"},
                                                {0, "\x89PNG", "a picture"},
                                                {0, "\xFD\x37zXZ", "an xz archive"},
                                                {0, "\x1F\x8B", "compressed twice"},
                                                {0, "\x28\xB5\x2F\xFD", "compressed twice"},
                                                {257, "ustar", "a tar archive"}}};

struct Encoding {
  std::string_view mark;  // a byte order mark
  std::string_view name;  // as iconv knows it
};
// The longer marks first: one of UTF-16 begins one of UTF-32.
constexpr std::array<Encoding, 4> kMarked = {
    {{"\xFF\xFE\0\0"sv, "UTF-32"}, {"\0\0\xFE\xFF"sv, "UTF-32"}, {"\xFF\xFE", "UTF-16"}, {"\xFE\xFF", "UTF-16"}}};

// In UTF-16 nearly all zero bytes are the upper halves of characters below U+0100: white space at least, whatever the
// language, and all on the same side. "" if this is not so.
std::string_view encoding_without_mark(std::string_view head) {
  constexpr std::size_t kFewestZeros = 4;
  constexpr std::size_t kLeastShare = 32;  // one byte in so many is zero
  std::array<std::size_t, 4> zeros{};      // by position modulo 4
  for (std::size_t i = 0; i < head.size(); ++i) zeros[i % 4] += head[i] == '\0' ? 1 : 0;
  const std::size_t even = zeros[0] + zeros[2];
  const std::size_t odd = zeros[1] + zeros[3];
  if (even + odd < kFewestZeros || (even + odd) * kLeastShare < head.size()) return "";
  const auto nearly_all = [&](std::size_t count) { return count * 10 >= (head.size() / 4) * 9; };
  const auto hardly_any = [](std::size_t count, std::size_t others) { return count * 20 <= others; };
  if (nearly_all(zeros[2]) && nearly_all(zeros[3]) && hardly_any(zeros[0], zeros[3])) return "UTF-32LE";
  if (nearly_all(zeros[0]) && nearly_all(zeros[1]) && hardly_any(zeros[3], zeros[0])) return "UTF-32BE";
  if (hardly_any(even, odd)) return "UTF-16LE";
  return hardly_any(odd, even) ? "UTF-16BE" : "";
}

[[noreturn]] void fail_encoding(const std::string& name, std::string_view encoding, const std::string& why) {
  throw DataError("input " + name + " is " + std::string(encoding.substr(0, 6)) + " text, not UTF-8" + why +
                  ". Convert it with: iconv -f " + std::string(encoding) + " -t UTF-8");
}

constexpr std::string_view kBlank = " \t\r\n";

std::string_view without_blanks_before(std::string_view text) noexcept {
  return text.substr(std::min(text.find_first_not_of(kBlank), text.size()));
}

}  // namespace

bool looks_like_json(std::string_view head) noexcept {
  const std::string_view text = without_blanks_before(head);
  if (text.starts_with('[')) return without_blanks_before(text.substr(1)).starts_with('{');
  const std::string_view line = text.substr(0, text.find('\n'));
  const std::size_t last = line.find_last_not_of(kBlank);
  return line.starts_with('{') && without_blanks_before(line.substr(1)).starts_with('"') && line[last] == '}';
}

void check_is_text(std::string_view head, const std::string& name) {
  for (const FileKind& kind : kNotText) {
    if (head.size() > kind.offset && head.substr(kind.offset).starts_with(kind.magic))
      throw DataError("input " + name + " is " + std::string(kind.name) + ", not UTF-8 text");
  }
  for (const Encoding& encoding : kMarked) {
    if (head.starts_with(encoding.mark)) fail_encoding(name, encoding.name, "");
  }
  const std::size_t zero = head.find('\0');
  if (zero == std::string_view::npos) return;
  const std::string_view encoding = encoding_without_mark(head);
  if (!encoding.empty()) fail_encoding(name, encoding, " (without a byte order mark)");
  const std::size_t bad = valid_utf8_prefix(head);
  if (bad + 4 > head.size()) return;
  throw DataError("input " + name + " is a binary file, not text (zero byte at byte " + std::to_string(zero) +
                  ", invalid UTF-8 at byte " + std::to_string(bad) + ")");
}

}  // namespace kangpt::data
