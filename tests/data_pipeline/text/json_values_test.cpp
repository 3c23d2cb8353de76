// JSON sources: what nlohmann::json accepts gives its stories, anything else is refused with the place and what was
// expected.
#include "data_pipeline/text/json_values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "data_pipeline/text/stories.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mutation.hpp"

namespace kangpt::data {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

class JsonValuesTest : public ::testing::Test {
 protected:
  // All stories of a file `name` with this content. Throws DataError.
  std::vector<std::string> read(const std::string& name, const std::string& content, StoryOptions options = {}) {
    test::fs::remove(folder_ / name);
    test::write_text(folder_ / name, content);
    SpareBuffers<std::string> spare;
    TextBlocks blocks((folder_ / name).string(), SeparatorPlace::kOwnLine, spare);
    options.format = format_of(name);
    options.source = name;
    std::vector<std::string> texts;
    odd_ = {};
    problems_.clear();
    replaced_bytes_ = 0;
    while (const std::optional<TextBlock> block = blocks.next()) {
      const BlockStories found(*block, options);
      for (const Story& story : found.stories()) {
        odd_ += story.odd;
        replaced_bytes_ += story.replaced_bytes;
        if (story.odd.skipped_records == 0) texts.emplace_back(story.text.text);
      }
      problems_.insert(problems_.end(), found.problems().begin(), found.problems().end());
    }
    return texts;
  }

  std::string refusal(const std::string& name, const std::string& content) {
    try {
      read(name, content);
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  }

  test::TemporaryDirectory folder_;
  // Of the last read():
  Oddities odd_;
  std::vector<std::string> problems_;
  std::uint64_t replaced_bytes_ = 0;
};

std::string story_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.at(value.contains("story") ? "story" : "text").get<std::string>();
}

// The stories of one array, or of values that stand one after the other, by nlohmann::json alone. Throws Json's errors.
std::vector<std::string> by_the_book(const std::string& content) {
  std::istringstream stream(content);
  std::vector<Json> values;
  while (true) {
    while (stream.peek() == ' ' || stream.peek() == '\n' || stream.peek() == '\t' || stream.peek() == '\r')
      stream.get();
    if (stream.peek() == std::istringstream::traits_type::eof()) break;
    stream >> values.emplace_back();
  }
  std::vector<std::string> texts;
  const bool array = !values.empty() && values[0].is_array();
  if (array && values.size() > 1) throw Json::other_error::create(0, "more after the array", nullptr);
  for (const Json& value : array ? values[0].get<std::vector<Json>>() : values) {
    const std::string text = story_of(value);
    const std::size_t begin = std::min(text.find_first_not_of(" \t\n\v\f\r"), text.size());
    texts.push_back(text.substr(begin, text.find_last_not_of(" \t\n\v\f\r") + 1 - begin));
  }
  return texts;
}

TEST_F(JsonValuesTest, MutatedTextIsReadOrRefusedAsTheLibraryDoes) {
  const Json array = {"One.",
                      {{"text", "Two \"2\" \\ \n\u00e9."}, {"n", {1, -2.5e3, true, nullptr}}},
                      {{"story", "Three"}, {"tags", {"]", "{\"", {{"deep", "}]"}}}}}};
  const std::string sequence = array[0].dump() + array[1].dump() + "\n" + array[2].dump(1) + "\n";
  const std::vector<std::string> words = {",",     ":",    "[", "]", "{", "}", "\"", "\\",
                                          "\\u12", "null", "0", "-", "e", " ", "\t", "\x01"};
  std::mt19937_64 random(5);
  int accepted = 0;
  for (int i = 0; i < 10000; ++i) {
    const std::string& valid = i % 2 == 0 ? array.dump(i % 4 / 2) : sequence;
    const std::string content = test::mutate(valid, words, random);
    std::optional<std::vector<std::string>> expected;
    try {
      expected = by_the_book(content);
    } catch (const Json::exception&) {
    }
    if (!expected) {
      ASSERT_THAT(refusal("in.json", content), HasSubstr("byte")) << content;
    } else {
      ASSERT_EQ(read("in.json", content), *expected) << content;
      ++accepted;
    }
  }
  EXPECT_GT(accepted, 500);
}

struct Malformed {
  std::string content;
  std::string message;
};

TEST_F(JsonValuesTest, WhatIsMissingOrTooMuchIsNamedWithItsPlace) {
  const std::vector<Malformed> cases = {
      {"[{\"text\": \"a\"} {\"text\": \"b\"}]", "line 1 (byte 15): unexpected '{', expected , or ]"},
      {"[\"a\",, \"b\"]", "line 1 (byte 5): unexpected ',', expected an object or a string"},
      {"[,\"a\"]", "(byte 1): unexpected ',', expected an object, a string or ]"},
      {"[\"a\",\n]", "line 2 (byte 6): unexpected ']', expected an object or a string"},
      {"[\"a\"]]", "(byte 5): unexpected ']', expected nothing more after the array"},
      {"[\"a\"]\n[\"b\"]", "line 2 (byte 6): unexpected '[', expected nothing more"},
      {"[[\"a\"]]", "(byte 1): unexpected '[', expected an object, a string or ]"},
      {"[\"a\"", "ends in the middle of its JSON (at byte 4)"},
      {"\"a\", \"b\"", "(byte 3): unexpected ',', expected an object or a string"},
      {"{\"text\": \"a\"}}", "(byte 13): unexpected '}'"},
      {"[\"a\", 3]", "(byte 6): unexpected '3', expected an object or a string"},
      {"null", "(byte 0): unexpected 'n', expected an array of objects or strings"},
      {"[{\"text\": \"a\", \"n\": 01}]", "(byte 21): syntax error"},
      {"[{\"text\": \"a\", \"n\": nul}]", "(byte 23): syntax error"},
      {"[{\"text\" \"a\"}]", "expected ':'"},
      {"[{\"text\": \"a\",}]", "expected string literal"},
      {"[{\"text\": \"a\" \"n\": 1}]", "expected '}'"},
      {"[{\"text\": \"\\x\"}]", "forbidden character after backslash"},
      {"[{\"text\": \"\\ud800\"}]", "surrogate"},
      {"[\n{\"text\": \"a\tb\"}]", "line 2 (byte 13): syntax error"},
      {"[{\"text\": \"a\"]]", "(byte 13): syntax error"},
      {"[{\"text\": \"a}]", "missing closing quote"},
      {"[{\"text\": 1e999}]", "number overflow"},
      {"\xEF\xBB\xBF[\"a\"; \"b\"]", "(byte 7): unexpected ';'"},
  };
  for (const Malformed& malformed : cases) {
    EXPECT_THAT(refusal("in.json", malformed.content), HasSubstr(malformed.message)) << malformed.content;
  }
}

TEST_F(JsonValuesTest, LinesAreCountedAndCheckedOneByOne) {
  EXPECT_THAT(refusal("in.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \n"), HasSubstr("line 3 (byte 23): syntax error"));
  EXPECT_THAT(refusal("in.jsonl", "{\"text\": \"a\"} {\"text\": \"b\"}\n"),
              HasSubstr("line 1 (byte 14): syntax error"));
  EXPECT_THAT(refusal("in.jsonl", "\"a\"\n[\"b\"]\n"),
              HasSubstr("line 2 (byte 4): expected an object or a string, found array"));
  const std::string long_text = "{\"text\": \"" + std::string(1 << 20, 'a');
  EXPECT_LT(refusal("in.jsonl", long_text).size(), 1000U);
}

// Blocks end between any two elements.
TEST_F(JsonValuesTest, PlacesAreRightInLaterBlocks) {
  std::string content = "[\n";
  for (std::size_t i = 0; content.size() < 3 << 20; ++i) content += Json(std::string(200000 + i, 'x')).dump() + ",\n";
  ASSERT_EQ(refusal("in.json", content + "\"end\"]"), "accepted");
  const std::string size = std::to_string(content.size());
  const std::string line = std::to_string(std::count(content.begin(), content.end(), '\n') + 1);
  EXPECT_THAT(refusal("in.json", content + "]"), HasSubstr("line " + line + " (byte " + size + "): unexpected ']'"));
  for (std::size_t comma = content.find(",\n"); comma != std::string::npos; comma = content.find(",\n", comma + 1)) {
    std::string without = content + "\"end\"]";
    without[comma] = ' ';
    EXPECT_THAT(refusal("in.json", without),
                HasSubstr("(byte " + std::to_string(comma + 2) + "): unexpected '\"', expected , or ]"));
  }
}

StoryOptions skipping() {
  StoryOptions options;
  options.invalid_records = InvalidRecords::kSkip;
  return options;
}

TEST_F(JsonValuesTest, SkippingLinesLeavesThoseThatTheLibraryReads) {
  const Json record = {{"text", "Two \"2\" \\ \n\u00e9."}, {"n", {1, -2.5e3, true, nullptr, {{"text", "deep"}}}}};
  const std::vector<std::string> words = {"text", "story", ":", ",", "{", "}", "\"", "\\", "null", "[", "1", "\x01"};
  std::mt19937_64 random(6);
  std::string lines;
  std::vector<std::string> expected;
  std::uint64_t skipped = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string line = test::mutate(i % 5 == 0 ? "\"One.\"" : record.dump(), words, random);
    std::erase(line, '\n');
    const std::size_t begin = line.find_first_not_of(" \t\v\f\r");
    if (begin == std::string::npos ||
        Json(line).dump(-1, ' ', false, Json::error_handler_t::replace).find("\xEF\xBF\xBD") != std::string::npos)
      continue;  // blank, or no UTF-8
    lines += line + "\n";
    line = line.substr(begin, line.find_last_not_of(" \t\v\f\r") + 1 - begin);
    try {
      const std::string text = story_of(Json::parse(line));
      const std::size_t first = std::min(text.find_first_not_of(" \t\n\v\f\r"), text.size());
      expected.push_back(text.substr(first, text.find_last_not_of(" \t\n\v\f\r") + 1 - first));
    } catch (const Json::exception&) {
      ++skipped;
    }
  }
  EXPECT_EQ(read("in.jsonl", lines, skipping()), expected);
  EXPECT_EQ(odd_.skipped_records, skipped);
  EXPECT_GT(skipped, 500U);
  EXPECT_GT(expected.size(), 500U);
}

TEST_F(JsonValuesTest, SkippingElementsNeedsAnArrayThatIsWhole) {
  const std::string array =
      "[1, \"a\", null, [\"x\", {\"text\": \"no\"}], {\"text\": 3},\n{\"t\": \"x\"}, {\"text\": \"b\"}, -2.5e3, true,"
      " {\"text\": \"c\" \"d\"}, nul, [], \"e\"]";
  EXPECT_EQ(read("in.json", array, skipping()), (std::vector<std::string>{"a", "b", "e"}));
  EXPECT_EQ(odd_.skipped_records, 10U);
  ASSERT_EQ(problems_.size(), 5U);
  EXPECT_EQ(problems_[0], "line 1 (byte 1): expected an object or a string, found number");
  EXPECT_THAT(problems_[4], HasSubstr("line 2 (byte " + std::to_string(array.find("{\"t\"")) +
                                      "): the object has no 'story' or 'text'; its keys are: t"));
  EXPECT_EQ(read("in.json", "{\"text\": \"a\"} 17 {\"text\": \"b\"}", skipping()).size(), 2U);
  for (const std::string broken : {"[\"a\" \"b\"]", "[\"a\"]]", "[\"a\", , \"b\"]", "[\"a\"", "once upon a time"})
    EXPECT_THROW(read("in.json", broken, skipping()), DataError) << broken;
}

// Strings of escapes: halves of pairs at random places, beside backslashes that are escaped themselves.
TEST_F(JsonValuesTest, HalfSurrogatePairsFollowThePolicyOfInvalidUtf8) {
  struct Piece {
    std::string json;
    std::uint16_t unit;
  };
  const std::vector<Piece> pieces = {{"\\ud83d", 0xD83D}, {"\\uDBFF", 0xDBFF}, {"\\ude00", 0xDE00}, {"\\uDFFF", 0xDFFF},
                                     {"\\\\", '\\'},      {"\\\"", '"'},       {"u", 'u'},          {"d83d", 0},
                                     {"\\u00e9", 0xE9},   {"\\n", '\n'},       {"\\uffff", 0xFFFF}};
  const auto is_high = [](std::uint16_t unit) { return unit >= 0xD800 && unit < 0xDC00; };
  const auto is_low = [](std::uint16_t unit) { return unit >= 0xDC00 && unit < 0xE000; };
  StoryOptions replacing;
  replacing.invalid_utf8 = InvalidUtf8::kReplace;
  std::mt19937_64 random(7);
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string json = "{\"text\": \"<";
    std::u16string units;
    for (std::size_t i = random() % 7; i > 0; --i) {
      const Piece& piece = pieces[random() % pieces.size()];
      json += piece.json;
      units += piece.unit == 0 ? std::u16string(u"d83d") : std::u16string(1, static_cast<char16_t>(piece.unit));
    }
    json += ">\"}";
    std::string whole = json.substr(0, 11);  // with U+FFFD in place of each half
    std::uint64_t halves = 0;
    for (std::size_t i = 0; i < units.size(); ++i) {
      const bool pair = is_high(units[i]) && i + 1 < units.size() && is_low(units[i + 1]);
      const bool half = !pair && (is_high(units[i]) || is_low(units[i]));
      halves += half ? 1 : 0;
      std::array<char, 16> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", half ? 0xFFFD : units[i]);
      whole += escape.data();
      if (!pair) continue;
      std::snprintf(escape.data(), escape.size(), "\\u%04x", units[++i]);
      whole += escape.data();
    }
    const std::vector<std::string> expected = by_the_book(whole + ">\"}");
    ASSERT_EQ(read("in.jsonl", json + "\n", replacing), expected) << json;
    ASSERT_EQ(replaced_bytes_, 6 * halves) << json;
    if (halves == 0) {
      ASSERT_EQ(read("in.json", json), expected) << json;
    } else {
      ASSERT_THAT(refusal("in.json", json), HasSubstr("--invalid-utf8 replace")) << json;
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
}

TEST_F(JsonValuesTest, WhatIsBesideTheStoryMayBeLong) {
  const std::string numbers(17 << 20, '7');
  std::string array = "[0";
  while (array.size() < 17 << 20) array += ",0.5";
  EXPECT_EQ(
      read("in.jsonl", "{\"embedding\": \"" + numbers + "\", \"text\": \"Tom ran.\"}\n{\"text\": \"Mia sat.\"}\n"),
      (std::vector<std::string>{"Tom ran.", "Mia sat."}));
  EXPECT_EQ(read("in.json", "[{\"text\": \"Tom ran.\", \"embedding\": " + array + "]}, \"Mia sat.\"]"),
            (std::vector<std::string>{"Tom ran.", "Mia sat."}));
  EXPECT_THAT(refusal("in.jsonl", "{\"text\": \"" + numbers + "\"}\n"),
              HasSubstr("(byte 0): the story is longer than"));
}

TEST_F(JsonValuesTest, SeparatorsInStringsAreTextOrEndStories) {
  const std::string lines = "{\"text\": \"One.<|endoftext|>\"}\n\"<|endoftext|>Two.\\n<|endoftext|>\\nThree.\"\n\"\"\n";
  EXPECT_EQ(read("in.jsonl", lines),
            (std::vector<std::string>{"One.<|endoftext|>", "<|endoftext|>Two.\n<|endoftext|>\nThree.", ""}));
  EXPECT_EQ(odd_.separators_in_text, 3U);
  StoryOptions anywhere;
  anywhere.separators = SeparatorPlace::kAnywhere;
  EXPECT_EQ(read("in.jsonl", lines, anywhere), (std::vector<std::string>{"One.", "", "Two.", "Three.", ""}));
  EXPECT_EQ(odd_.separators_in_text, 0U);
}

TEST_F(JsonValuesTest, WithoutAQuoteNoMoreThanTheLongestRecordIsRead) {
  const std::string content = "[\"unending" + std::string(65 << 20, ' ');
  EXPECT_THAT(refusal("in.json", content), HasSubstr("Is a quote or a bracket missing there?"));
}

}  // namespace
}  // namespace kangpt::data
