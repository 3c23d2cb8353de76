#include "data_pipeline/story_encoder.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "data_pipeline/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr std::string_view kBlank = " \t\n\v\f\r";

StoryText stripped(std::string_view text, std::uint64_t offset_bytes) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  const std::size_t end = text.find_last_not_of(kBlank) + 1;
  if (begin >= end) return {{}, offset_bytes};
  return {text.substr(begin, end - begin), offset_bytes + begin};
}

struct Separator {
  std::size_t begin = 0;  // of its line
  std::size_t end = 0;    // after its line feed
};

// The first separator line at or after `from`, which is the begin of a line; none: begin = text.size().
Separator find_separator(std::string_view text, std::size_t from) {
  constexpr std::string_view separator = kSeparator;
  for (std::size_t found = text.find(separator, from); found != std::string_view::npos;
       found = text.find(separator, found + 1)) {
    const std::size_t line_feed = found == 0 ? std::string_view::npos : text.rfind('\n', found - 1);
    const std::size_t begin = line_feed == std::string_view::npos ? 0 : line_feed + 1;
    const std::size_t end = std::min(text.find('\n', found), text.size());
    if (stripped(text.substr(begin, end - begin), 0).text == separator) return {begin, std::min(end + 1, text.size())};
  }
  return {text.size(), text.size()};
}

[[noreturn]] void fail_invalid(const StoryText& story, const std::string& source) {
  const std::size_t bad = valid_utf8_prefix(story.text);
  std::array<char, 8> byte{};
  std::snprintf(byte.data(), byte.size(), "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(story.text[bad])));
  throw DataError("input " + source + ": invalid UTF-8 at byte " + std::to_string(story.offset_bytes + bad) + " (" +
                  byte.data() +
                  "). Is it text in another encoding? --invalid-utf8 replace turns such bytes into U+FFFD");
}

}  // namespace

std::vector<StoryText> split_stories(const TextBlock& block) {
  const std::string_view text = block.text;
  std::vector<StoryText> stories;
  for (std::size_t begin = 0; begin < text.size();) {
    const Separator separator = find_separator(text, begin);
    const StoryText story = stripped(text.substr(begin, separator.begin - begin), block.offset_bytes + begin);
    if (!story.text.empty() || separator.begin < text.size()) stories.push_back(story);
    begin = separator.end;
  }
  return stories;
}

EncodedBlock encode_block(const TextBlock& block, const std::string& source, InvalidUtf8 policy, Encoder& encoder) {
  EncodedBlock result;
  result.text_xxh3 = base::xxh3(std::as_bytes(std::span(block.text)));
  result.tokens.reserve(block.text.size() / 3);
  Replaced replaced;
  for (StoryText story : split_stories(block)) {
    EncodedStory encoded;
    if (valid_utf8_prefix(story.text) != story.text.size()) {
      if (policy == InvalidUtf8::kError) fail_invalid(story, source);
      replaced = replace_invalid_utf8(story.text);
      story.text = replaced.text;
      encoded.replaced_bytes = replaced.replaced_bytes;
    }
    if (!story.text.empty()) {
      const std::size_t first = result.tokens.size();
      encoder.encode(story.text, result.tokens);
      result.tokens.push_back(encoder.vocabulary().end_of_text());
      encoded.tokens = result.tokens.size() - first;
      encoded.text_bytes = story.text.size();
    }
    result.stories.push_back(encoded);
  }
  return result;
}

}  // namespace kangpt::data
