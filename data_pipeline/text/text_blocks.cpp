#include "data_pipeline/text/text_blocks.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "data_pipeline/text/file_kinds.hpp"
#include "data_pipeline/tokenizer/word_scanner.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
}  // namespace

TextBlocks::TextBlocks(const std::string& path, SeparatorPlace separators, SpareBuffers<std::string>& spare)
    : format_(format_of(path)), source_(path), cutter_(make_cutter(format_, separators)), spare_(spare) {}

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
  const std::string_view head = pending().substr(0, kHeadBytes);
  check_is_text(head, source_.name());
  if (format_ == TextFormat::kText && looks_like_json(head)) {
    base::log_warning(
        "input " + source_.name() +
        " looks like JSON but is read as text, for its name: JSON is read from files whose names end with "
        ".jsonl, .ndjson or .json");
  }
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
  const bool is_text = format_ == TextFormat::kText;
  std::string advice = "Is a quote or a bracket missing there?";
  if (is_text) advice = "Separate stories with lines that are only " + std::string(kSeparator);
  if (is_text && pending().find(kSeparator) != std::string_view::npos)
    advice += ". There are some within lines: --separator anywhere makes them separate too";
  throw DataError("input " + source_.name() + ": the " + (is_text ? "story" : "record") + " at byte " +
                  std::to_string(pending_offset_) + " is longer than " +
                  base::format_bytes(static_cast<double>(longest_record())) + ". " + advice);
}

std::optional<TextBlock> TextBlocks::next() {
  if (!began_) begin();
  while (!at_end_) {
    if (pending_size_ < kBlockBytes) fill(kBlockBytes - pending_size_);
    if (at_end_) break;
    if (const std::size_t cut = cutter_->cut(pending()); cut > 0) return take(cut);
    if (pending_size_ > longest_record()) fail_too_long();
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
