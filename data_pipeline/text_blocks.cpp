#include "data_pipeline/text_blocks.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.hpp"
#include "base/format.hpp"
#include "data_pipeline/unicode.hpp"
#include "data_pipeline/word_scanner.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kMaximumStoryBytes = std::size_t{16} << 20;
constexpr std::size_t kHeadBytes = 8192;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

struct FileKind {
  std::string_view magic;
  std::string_view name;
};
constexpr std::array<FileKind, 9> kNotText = {{{"PK\x03\x04", "a zip archive"},
                                               {"PAR1", "a Parquet file"},
                                               {"\x89HDF", "an HDF5 file"},
                                               {"\x7F\x45LF", "a program"},
                                               {"%PDF", "a PDF document"},
                                               {"\x89PNG", "a picture"},
                                               {"\xFD\x37zXZ", "an xz archive"},
                                               {"\xFF\xFE", "UTF-16 text"},
                                               {"\xFE\xFF", "UTF-16 text"}}};

// Judges the first bytes of a source: names known kinds of files, and takes zero bytes together with invalid UTF-8 for
// a binary file of another kind.
void check_is_text(std::string_view head, const std::string& name) {
  for (const FileKind& kind : kNotText) {
    if (head.starts_with(kind.magic))
      throw DataError("input " + name + " is " + std::string(kind.name) + ", not UTF-8 text");
  }
  const std::size_t zero = head.find('\0');
  const std::size_t bad = valid_utf8_prefix(head);
  if (zero == std::string_view::npos || bad + 4 > head.size()) return;
  throw DataError("input " + name + " is a binary file, not text (zero byte at byte " + std::to_string(zero) +
                  ", invalid UTF-8 at byte " + std::to_string(bad) + ")");
}

}  // namespace

TextBlocks::TextBlocks(const std::string& path, SpareBuffers<std::string>& spare)
    : format_(format_of(path)), source_(path), cutter_(make_cutter(format_)), spare_(spare) {}

void TextBlocks::fill(std::size_t size) {
  const std::size_t needed = pending_size_ + size + PaddedText::kPaddingBytes;
  if (buffer_.size() < needed) buffer_.resize(needed);
  const std::size_t count = source_.read(std::span(buffer_).subspan(pending_size_, size));
  pending_size_ += count;
  at_end_ = count < size;
}

void TextBlocks::begin() {
  began_ = true;
  buffer_ = spare_.take();
  fill(kBlockBytes);
  check_is_text(pending().substr(0, kHeadBytes), source_.name());
  if (!pending().starts_with(kByteOrderMark)) return;
  buffer_.erase(0, kByteOrderMark.size());
  buffer_.append(kByteOrderMark.size(), ' ');
  pending_size_ -= kByteOrderMark.size();
  pending_offset_ = kByteOrderMark.size();
}

TextBlock TextBlocks::take(std::size_t size) {
  const std::string_view rest = pending().substr(size);
  std::string next = spare_.take();
  if (next.size() < rest.size()) next.resize(kBlockBytes + rest.size() + PaddedText::kPaddingBytes);
  std::copy(rest.begin(), rest.end(), next.begin());
  pending_size_ = rest.size();
  const JsonPlace place = blocks_ == 0 ? JsonPlace::kStart : cutter_->json_place();
  TextBlock block{blocks_++, pending_offset_, std::exchange(buffer_, std::move(next)), size, place, lines_};
  pending_offset_ += size;
  const std::string_view text = block.text();
  if (format_ != TextFormat::kText) lines_ += static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
  return block;
}

void TextBlocks::fail_too_long() const {
  const std::string advice = format_ == TextFormat::kText
                                 ? "Separate stories with lines that are only " + std::string(kSeparator)
                                 : std::string("Is a quote or a bracket missing there?");
  throw DataError("input " + source_.name() + ": the story at byte " + std::to_string(pending_offset_) +
                  " is longer than " + base::format_bytes(kMaximumStoryBytes) + ". " + advice);
}

std::optional<TextBlock> TextBlocks::next() {
  if (!began_) begin();
  while (!at_end_) {
    if (pending_size_ < kBlockBytes) fill(kBlockBytes - pending_size_);
    if (at_end_) break;
    if (const std::size_t cut = cutter_->cut(pending()); cut > 0) return take(cut);
    if (pending_size_ > kMaximumStoryBytes) fail_too_long();
    fill(kBlockBytes);
  }
  if (pending_size_ == 0) {
    if (cutter_->may_end()) return std::nullopt;
    throw DataError("input " + source_.name() + " ends in the middle of its JSON (at byte " +
                    std::to_string(pending_offset_) + "): it is cut off, or a ] is missing");
  }
  cutter_->cut(pending());
  return take(pending_size_);
}

}  // namespace kangpt::data
