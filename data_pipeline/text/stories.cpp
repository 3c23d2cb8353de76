#include "data_pipeline/text/stories.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "base/format.hpp"
#include "data_pipeline/text/json_values.hpp"
#include "data_pipeline/tokenizer/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr std::string_view kBlank = " \t\n\v\f\r";

std::string_view stripped(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  const std::size_t end = text.find_last_not_of(kBlank) + 1;
  return begin >= end ? text.substr(begin, 0) : text.substr(begin, end - begin);
}

constexpr std::size_t kMostProblems = 5;

// Hands `use` the stripped text before each separator and the number of those in it that separate nothing. What follows
// the last separator counts only if it is not blank. The text is gone through once.
template <typename Use>
void split_at_separators(std::string_view text, SeparatorPlace place, Use use) {
  std::size_t begin = 0;
  std::uint64_t in_text = 0;
  for (std::size_t found = text.find(kSeparator); found != std::string_view::npos;
       found = text.find(kSeparator, found + kSeparator.size())) {
    const std::optional<Separator> separator = separator_at(text, found, place, MoreText::kNone);
    if (!separator) {
      ++in_text;
      continue;
    }
    use(stripped(text.substr(begin, separator->begin - begin)), std::exchange(in_text, 0));
    begin = separator->end;
  }
  const std::string_view rest = stripped(text.substr(begin));
  if (!rest.empty()) use(rest, in_text);
}

std::uint64_t count_separators(std::string_view text) {
  std::uint64_t count = 0;
  for (std::size_t found = text.find(kSeparator); found != std::string_view::npos;
       found = text.find(kSeparator, found + kSeparator.size()))
    ++count;
  return count;
}

}  // namespace

BlockStories::BlockStories(const TextBlock& block, const StoryOptions& options) : block_(block), options_(options) {
  switch (options.format) {
    case TextFormat::kText:
      split_text(block.text());
      break;
    case TextFormat::kJsonLines:
      split_lines(block.text());
      break;
    case TextFormat::kJson:
      split_json(block.text());
      break;
  }
}

std::uint64_t BlockStories::offset_of(std::string_view text) const noexcept {
  return block_.offset_bytes + static_cast<std::uint64_t>(text.data() - block_.buffer.data());
}

std::string_view BlockStories::keep(std::string text) {
  const std::size_t size = text.size();
  text.append(PaddedText::kPaddingBytes, ' ');
  return std::string_view(kept_.emplace_back(std::move(text))).substr(0, size);
}

// `text` lies in the block.
std::string_view BlockStories::valid_utf8(std::string_view text, std::uint64_t& replaced_bytes) {
  const std::size_t bad = valid_utf8_prefix(text);
  if (bad == text.size()) return text;
  if (options_.invalid_utf8 == InvalidUtf8::kReplace) {
    Replaced replaced = replace_invalid_utf8(text);
    replaced_bytes = replaced.replaced_bytes;
    return keep(std::move(replaced.text));
  }
  std::array<char, 8> byte{};
  std::snprintf(byte.data(), byte.size(), "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(text[bad])));
  throw DataError("input " + options_.source + ": invalid UTF-8 at byte " + std::to_string(offset_of(text) + bad) +
                  " (" + byte.data() +
                  "). Is it text in another encoding? --invalid-utf8 replace turns such bytes into U+FFFD");
}

// A \ud83d without its other half is no character; json.dumps of Python writes it for text that was cut within an
// emoji. `json` is `value`, or what valid_utf8() made of it.
std::string_view BlockStories::without_half_pairs(std::string_view json, std::string_view value,
                                                  std::uint64_t& replaced_bytes) {
  std::size_t half = find_half_pair(json, 0);
  if (half == json.size()) return json;
  if (options_.invalid_utf8 == InvalidUtf8::kError) {
    fail_json(offset_of(value) + half, "the escape " + std::string(json.substr(half, kEscapeBytes)) +
                                           " is half of a surrogate pair and no character. --invalid-utf8 replace "
                                           "turns such escapes into U+FFFD");
  }
  std::string whole(json);
  for (; half < json.size(); half = find_half_pair(json, half + kEscapeBytes)) {
    whole.replace(half, kEscapeBytes, "\\ufffd");
    replaced_bytes += kEscapeBytes;
  }
  return keep(std::move(whole));
}

void BlockStories::add(Story story) {
  const std::string_view text = stripped(story.text.text);
  story.text.text = text;
  if (!text.empty() && std::memchr(text.data(), '\0', text.size()) != nullptr)
    story.odd.zero_bytes = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\0'));
  story.odd.byte_order_marks = text.starts_with(kByteOrderMark) ? 1 : 0;
  stories_.push_back(story);
}

void BlockStories::split_text(std::string_view text) {
  split_at_separators(text, options_.separators, [this](std::string_view piece, std::uint64_t separators_in_text) {
    Story story;
    story.text.text = valid_utf8(piece, story.replaced_bytes);
    story.offset_bytes = offset_of(piece);
    story.odd.separators_in_text = separators_in_text;
    add(story);
  });
}

void BlockStories::split_lines(std::string_view text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = stripped(text.substr(begin, end - begin));
    if (!line.empty()) add_json(line);
    begin = end + 1;
  }
}

void BlockStories::split_json(std::string_view text) {
  const bool skip_others = options_.invalid_records == InvalidRecords::kSkip;
  JsonValues values(text, block_.json_place, skip_others ? OtherValues::kTaken : OtherValues::kRefused);
  try {
    while (const std::optional<std::string_view> value = values.next()) add_json(*value);
  } catch (const JsonError& error) {
    fail_json(block_.offset_bytes + error.position(), error.what());
  }
}

void BlockStories::add_json(std::string_view value) {
  std::uint64_t replaced_bytes = 0;
  const std::string_view json = without_half_pairs(valid_utf8(value, replaced_bytes), value, replaced_bytes);
  try {
    std::string text = json_story(json, options_.key);
    if (text.size() > kMaximumStoryBytes)
      throw JsonError(0, "the story is longer than " + base::format_bytes(kMaximumStoryBytes));
    add_record(keep(std::move(text)), replaced_bytes, offset_of(value));
  } catch (const JsonError& error) {
    const std::uint64_t offset_bytes = offset_of(value) + (replaced_bytes == 0 ? error.position() : 0);
    if (options_.invalid_records == InvalidRecords::kSkip) return skip(offset_bytes, error.what());
    fail_json(offset_bytes, std::string(error.what()) + ". --invalid-records skip leaves such records out");
  }
}

void BlockStories::add_record(std::string_view text, std::uint64_t replaced_bytes, std::uint64_t offset_bytes) {
  Story story{{text}, replaced_bytes, offset_bytes, {}};
  if (options_.separators == SeparatorPlace::kOwnLine) {
    story.odd.separators_in_text = count_separators(text);
    return add(story);
  }
  const std::size_t before = stories_.size();
  split_at_separators(text, options_.separators, [&](std::string_view piece, std::uint64_t) {
    story.text.text = piece;
    add(story);
    story.replaced_bytes = 0;
  });
  if (stories_.size() == before) add(story);
}

void BlockStories::skip(std::uint64_t offset_bytes, const std::string& problem) {
  Story record;
  record.offset_bytes = offset_bytes;
  record.odd.skipped_records = 1;
  stories_.push_back(record);
  if (problems_.size() < kMostProblems) problems_.push_back(place_of(offset_bytes) + ": " + problem);
}

std::string BlockStories::place_of(std::uint64_t offset_bytes) const {
  const std::string_view before = block_.text().substr(0, offset_bytes - block_.offset_bytes);
  const auto line =
      block_.lines_before + static_cast<std::uint64_t>(std::count(before.begin(), before.end(), '\n')) + 1;
  return "line " + std::to_string(line) + " (byte " + std::to_string(offset_bytes) + ")";
}

void BlockStories::fail_json(std::uint64_t offset_bytes, const std::string& problem) const {
  throw DataError("input " + options_.source + ": the JSON is wrong in " + place_of(offset_bytes) + ": " + problem);
}

}  // namespace kangpt::data
