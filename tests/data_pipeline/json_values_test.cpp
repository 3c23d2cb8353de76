// JSON sources: what nlohmann::json accepts gives its stories, anything else is refused with the place and what was
// expected.
#include "data_pipeline/json_values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "data_pipeline/stories.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mutation.hpp"

namespace kangpt::data {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

class JsonValuesTest : public ::testing::Test {
 protected:
  // All stories of a file `name` with this content. Throws DataError.
  std::vector<std::string> read(const std::string& name, const std::string& content) const {
    test::fs::remove(folder_ / name);
    test::write_text(folder_ / name, content);
    SpareBuffers<std::string> spare;
    TextBlocks blocks((folder_ / name).string(), spare);
    const StoryOptions options{format_of(name), name, "", InvalidUtf8::kError};
    std::vector<std::string> texts;
    while (const std::optional<TextBlock> block = blocks.next()) {
      const BlockStories found(*block, options);
      for (const Story& story : found.stories()) texts.emplace_back(story.text.text);
    }
    return texts;
  }

  std::string refusal(const std::string& name, const std::string& content) const {
    try {
      read(name, content);
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  }

  test::TemporaryDirectory folder_;
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

TEST_F(JsonValuesTest, WithoutAQuoteNoMoreThanAFewMegabytesAreRead) {
  const std::string content = "[\"unending" + std::string(40 << 20, ' ');
  EXPECT_THAT(refusal("in.json", content), HasSubstr("Is a quote or a bracket missing there?"));
}

}  // namespace
}  // namespace kangpt::data
