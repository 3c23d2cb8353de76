#include "data_pipeline/stories.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/error.hpp"
#include "data_pipeline/json_values.hpp"
#include "data_pipeline/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr std::string_view kBlank = " \t\n\v\f\r";

std::string_view stripped(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  const std::size_t end = text.find_last_not_of(kBlank) + 1;
  return begin >= end ? text.substr(begin, 0) : text.substr(begin, end - begin);
}

struct Separator {
  std::size_t begin = 0;  // of its line
  std::size_t end = 0;    // after its line feed
};

// The first separator line at or after `from`, which is the begin of a line; none: begin = text.size().
Separator find_separator(std::string_view text, std::size_t from) {
  for (std::size_t found = text.find(kSeparator, from); found != std::string_view::npos;
       found = text.find(kSeparator, found + 1)) {
    const std::size_t line_feed = found == 0 ? std::string_view::npos : text.rfind('\n', found - 1);
    const std::size_t begin = line_feed == std::string_view::npos ? 0 : line_feed + 1;
    const std::size_t end = std::min(text.find('\n', found), text.size());
    if (stripped(text.substr(begin, end - begin)) == kSeparator) return {begin, std::min(end + 1, text.size())};
  }
  return {text.size(), text.size()};
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

void BlockStories::add(std::string_view text, std::uint64_t replaced_bytes) {
  stories_.push_back({{stripped(text)}, replaced_bytes});
}

// What follows the last separator is a story only if it is not blank.
void BlockStories::split_text(std::string_view text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const Separator separator = find_separator(text, begin);
    std::uint64_t replaced_bytes = 0;
    const std::string_view story = valid_utf8(stripped(text.substr(begin, separator.begin - begin)), replaced_bytes);
    if (!story.empty() || separator.begin < text.size()) add(story, replaced_bytes);
    begin = separator.end;
  }
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
  JsonValues values(text, block_.json_place);
  try {
    while (const std::optional<std::string_view> value = values.next()) add_json(*value);
  } catch (const JsonError& error) {
    fail_json(block_.offset_bytes + error.position(), error.what());
  }
}

void BlockStories::add_json(std::string_view value) {
  std::uint64_t replaced_bytes = 0;
  const std::string_view text = valid_utf8(value, replaced_bytes);
  try {
    add(keep(json_story(text, options_.key)), replaced_bytes);
  } catch (const JsonError& error) {
    fail_json(offset_of(value) + (replaced_bytes == 0 ? error.position() : 0), error.what());
  }
}

void BlockStories::fail_json(std::uint64_t offset_bytes, const std::string& problem) const {
  const std::string_view before = block_.text().substr(0, offset_bytes - block_.offset_bytes);
  const auto line =
      block_.lines_before + static_cast<std::uint64_t>(std::count(before.begin(), before.end(), '\n')) + 1;
  throw DataError("input " + options_.source + ": the JSON is wrong in line " + std::to_string(line) + " (byte " +
                  std::to_string(offset_bytes) + "): " + problem);
}

}  // namespace kangpt::data
