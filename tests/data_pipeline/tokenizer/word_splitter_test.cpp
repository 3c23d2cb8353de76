#include "data_pipeline/tokenizer/word_splitter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "data_pipeline/tokenizer/unicode.hpp"
#include "tests/data_pipeline/tokenizer/encoding_oracle.hpp"

namespace kangpt::data {
namespace {

using ::testing::ElementsAre;
using Words = std::vector<std::string_view>;

Words split(std::string_view text) {
  Words words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = word_end(text, begin);
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

std::string utf8(std::uint32_t code) {
  const auto byte = [](std::uint32_t value) { return static_cast<char>(value); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xC0 | (code >> 6)), byte(0x80 | (code & 63))};
  if (code < 0x10000) return {byte(0xE0 | (code >> 12)), byte(0x80 | ((code >> 6) & 63)), byte(0x80 | (code & 63))};
  return {byte(0xF0 | (code >> 18)), byte(0x80 | ((code >> 12) & 63)), byte(0x80 | ((code >> 6) & 63)),
          byte(0x80 | (code & 63))};
}

TEST(WordSplitter, WhiteSpaceGivesItsLastCharacterToTheNextWordIfThatIsASpace) {
  EXPECT_THAT(split("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(split("a \n b"), ElementsAre("a", " \n", " b"));
  EXPECT_THAT(split("a  \nb"), ElementsAre("a", "  ", "\n", "b"));
  EXPECT_THAT(split("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(split("a \xC2\xA0"
                    "b"),
              ElementsAre("a", " ", "\xC2\xA0", "b"));
}

TEST(WordSplitter, WhiteSpaceAtTheEndStaysWhole) {
  EXPECT_THAT(split("a  \n "), ElementsAre("a", "  \n "));
  EXPECT_THAT(split(" "), ElementsAre(" "));
  EXPECT_THAT(split("a \n"), ElementsAre("a", " \n"));
}

TEST(WordSplitter, ContractionsAreLowerCaseAndBeginAtTheApostrophe) {
  EXPECT_THAT(
      split("it's we'll I'd they've you're I'm don't"),
      ElementsAre("it", "'s", " we", "'ll", " I", "'d", " they", "'ve", " you", "'re", " I", "'m", " don", "'t"));
  EXPECT_THAT(split("IT'S"), ElementsAre("IT", "'", "S"));
  EXPECT_THAT(split("''s"), ElementsAre("''", "s"));
  EXPECT_THAT(split(" 's"), ElementsAre(" '", "s"));
  EXPECT_THAT(split("'st"), ElementsAre("'s", "t"));
  EXPECT_THAT(split("'r"), ElementsAre("'", "r"));
  EXPECT_THAT(split("it\xE2\x80\x99s"), ElementsAre("it", "\xE2\x80\x99", "s"));
  EXPECT_THAT(split("!'s"), ElementsAre("!'", "s"));
}

TEST(WordSplitter, LettersNumbersAndTheRestAreApart) {
  EXPECT_THAT(split("ab12!? 7x"), ElementsAre("ab", "12", "!?", " 7", "x"));
  EXPECT_THAT(split("\xC2\xBD\xE2\x85\xA7 \xE6\x97\xA5"), ElementsAre("\xC2\xBD\xE2\x85\xA7", " \xE6\x97\xA5"));
}

TEST(WordSplitter, ClassesAgreeWithPcre2ForAllCodePointsThatItKnows) {
  const test::Pattern letter("\\p{L}"), number("\\p{N}"), space("\\s"), unassigned("\\p{Cn}");
  std::vector<std::uint32_t> different;
  std::size_t newer = 0;
  for (std::uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    const std::string text = utf8(code);
    const CharClass expected = !letter.matches(text).empty()   ? CharClass::kLetter
                               : !number.matches(text).empty() ? CharClass::kNumber
                               : !space.matches(text).empty()  ? CharClass::kSpace
                                                               : CharClass::kOther;
    if (class_of(code) == expected) continue;
    const bool known_to_one_only =
        !unassigned.matches(text).empty() || test::pcre2_unicode_version() > unicode_version();
    known_to_one_only ? static_cast<void>(++newer) : different.push_back(code);
  }
  std::printf("PCRE2 has Unicode %s, the table %s: %zu code points only one of them knows\n",
              test::pcre2_unicode_version().c_str(), std::string(unicode_version()).c_str(), newer);
  // U+180E was White_Space until Unicode 6.3; PCRE2 keeps it in \s.
  EXPECT_THAT(different, ::testing::AnyOf(ElementsAre(0x180EU), ElementsAre()));
}

TEST(WordSplitter, WhiteSpaceIsUnicodesAndNothingElse) {
  std::vector<std::uint32_t> spaces;
  for (std::uint32_t code = 0; code < 0x110000; ++code) {
    if (class_of(code) == CharClass::kSpace) spaces.push_back(code);
  }
  EXPECT_THAT(spaces, ElementsAre(0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x2001, 0x2002,
                                  0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028, 0x2029,
                                  0x202F, 0x205F, 0x3000));
}

TEST(WordSplitter, AgreesWithPcre2OnRandomTextAtEveryAlignment) {
  const test::Pattern pattern(test::kGpt2Pattern);
  const std::array<std::string, 24> pieces = {"a",
                                              "Z",
                                              "s",
                                              "t",
                                              "re",
                                              "ll",
                                              "'",
                                              "'",
                                              " ",
                                              " ",
                                              "  ",
                                              "\n",
                                              "\t",
                                              "\r",
                                              "0",
                                              "42",
                                              "!",
                                              ".",
                                              "\xC3\xA9",
                                              "\xC2\xA0",
                                              "\xC2\x85",
                                              "\xE2\x80\x83",
                                              "\xF0\x9F\x98\x80",
                                              "\xD9\xA3"};
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(static_cast<std::size_t>(round % 64), 'x');
    const std::size_t size = random() % 200;
    for (std::size_t i = 0; i < size; ++i) text += pieces[random() % pieces.size()];
    ASSERT_EQ(split(text), pattern.matches(text)) << "round " << round;
  }
}

TEST(WordSplitter, BytesThatAreNotUtf8AreNeitherLettersNorSpaces) {
  EXPECT_THAT(split("a\xFF\xFE z"), ElementsAre("a", "\xFF\xFE", " z"));
  EXPECT_THAT(split("\xE2\x80"), ElementsAre("\xE2\x80"));
}

}  // namespace
}  // namespace kangpt::data
