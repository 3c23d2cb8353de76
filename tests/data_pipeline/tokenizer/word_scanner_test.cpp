#include "data_pipeline/tokenizer/word_scanner.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "data_pipeline/tokenizer/word_splitter.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

using Starts = std::vector<std::uint32_t>;

Starts by_word_end(std::string_view text) {
  Starts starts;
  for (std::size_t begin = 0; begin < text.size(); begin = word_end(text, begin))
    starts.push_back(static_cast<std::uint32_t>(begin));
  return starts;
}

// `fill` stands behind the text, where the scanner may read but must not be misled.
Starts scan(std::string_view text, WordScanner::Method method, char fill) {
  std::string padded(text);
  padded.append(PaddedText::kPaddingBytes, fill);
  WordScanner scanner({std::string_view(padded).substr(0, text.size())}, method);
  std::array<std::uint32_t, 100> some{};
  Starts starts;
  while (const std::size_t count = scanner.next(some))
    starts.insert(starts.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
  return starts;
}

void expect_agreement(std::string_view text) {
  const Starts expected = by_word_end(text);
  for (const char fill : {'a', ' ', '\'', '\xA0', '!'})
    ASSERT_EQ(scan(text, WordScanner::Method::kBest, fill), expected) << text.substr(0, 300);
  ASSERT_EQ(scan(text, WordScanner::Method::kScalar, 'a'), expected);
}

TEST(WordScanner, AgreesWithTheSplitterOnRandomTextAtEveryAlignment) {
  const std::array<std::string, 28> pieces = {"a",
                                              "Z",
                                              "s",
                                              "t",
                                              "re",
                                              "ll",
                                              "ve",
                                              "m",
                                              "d",
                                              "'",
                                              "'",
                                              "'s",
                                              " ",
                                              " ",
                                              "  ",
                                              "\n",
                                              "\t",
                                              "0",
                                              "42",
                                              "!",
                                              ".",
                                              "\xC3\xA9",
                                              "\xC2\xA0",
                                              "\xC2\x85",
                                              "\xE2\x80\x83",
                                              "\xF0\x9F\x98\x80",
                                              "\xD9\xA3",
                                              "\xFF"};
  std::mt19937_64 random(17);
  for (int round = 0; round < 20000; ++round) {
    const std::size_t kinds = 2 + random() % (pieces.size() - 1);
    const std::size_t first = random() % pieces.size();
    std::string text(static_cast<std::size_t>(round % 64), 'x');
    for (std::size_t i = random() % 200; i > 0; --i) text += pieces[(first + random() % kinds) % pieces.size()];
    ASSERT_NO_FATAL_FAILURE(expect_agreement(text)) << "round " << round;
  }
}

TEST(WordScanner, AgreesOnRandomBytes) {
  std::mt19937_64 random(19);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t i = random() % 400; i > 0; --i) text += static_cast<char>(random());
    ASSERT_NO_FATAL_FAILURE(expect_agreement(text)) << "round " << round;
  }
}

// Every pair of kinds of character, at every place of the border between two blocks.
TEST(WordScanner, AgreesAcrossTheBordersOfBlocks) {
  const std::vector<std::string> kinds = {"a",       "7", "!",        " ",        "\n",           "'s",
                                          "'ll",     "'", "\xC3\xA9", "\xC2\xA0", "\xE2\x80\x83", "\xF0\x9F\x98\x80",
                                          "\xE2\x80"};
  for (const std::string& a : kinds) {
    for (const std::string& b : kinds) {
      for (std::size_t offset = 55; offset < 66; ++offset) {
        ASSERT_NO_FATAL_FAILURE(expect_agreement(std::string(offset, 'x') + a + b + "y"));
        ASSERT_NO_FATAL_FAILURE(expect_agreement(std::string(offset, ' ') + a + b + b));
        ASSERT_NO_FATAL_FAILURE(expect_agreement(std::string(offset, '.') + a + b + a));
      }
    }
  }
}

TEST(WordScanner, AgreesOnRealText) {
  const auto data = test::shared_data();
  if (!data) GTEST_SKIP() << "../shared/data is not there";
  ASSERT_NO_FATAL_FAILURE(expect_agreement(test::read_text(*data / "tinystories/valid.txt")));
}

TEST(WordScanner, AMillionOfOneCharacterIsNoTrouble) {
  for (const std::string character : {"a", "'", " ", "\n", "\xF0\x9F\x98\x80", "\xC2\x85", "7", "\xFF", "\xE2"}) {
    std::string text;
    while (text.size() < 1000000) text += character;
    EXPECT_EQ(scan(text, WordScanner::Method::kBest, 'a'), by_word_end(text));
    text += "b";
    EXPECT_EQ(scan(text, WordScanner::Method::kBest, 'a'), by_word_end(text));
  }
}

}  // namespace
}  // namespace kangpt::data
