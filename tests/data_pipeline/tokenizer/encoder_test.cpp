#include "data_pipeline/tokenizer/encoder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "tests/data_pipeline/tokenizer/encoding_oracle.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<std::uint32_t>;

class EncoderTest : public ::testing::Test {
 protected:
  Ids encode(std::string_view text) {
    Ids ids;
    encoder_.encode(text, ids);
    return ids;
  }
  std::string decode(const Ids& ids) const {
    return vocabulary_.decode(std::vector<std::int64_t>(ids.begin(), ids.end()));
  }

  Vocabulary vocabulary_ = Vocabulary::load(test::vocabulary_file());
  Encoder encoder_{vocabulary_};
};

TEST_F(EncoderTest, GivesTheKnownIdsOfGpt2) {
  EXPECT_EQ(vocabulary_.size(), 50257U);
  EXPECT_THAT(encode("Hello world"), ElementsAre(15496, 995));
  EXPECT_THAT(encode("Once upon a time"), ElementsAre(7454, 2402, 257, 640));
  EXPECT_THAT(encode("<|endoftext|>"), ElementsAre(27, 91, 437, 1659, 5239, 91, 29));
  EXPECT_THAT(encode("!"), ElementsAre(0));
  EXPECT_THAT(encode(""), ElementsAre());
}

TEST_F(EncoderTest, EveryTokenDecodesToWhatEncodesToItsBytes) {
  for (std::uint32_t id = 0; id < vocabulary_.end_of_text(); ++id) {
    Ids ids;
    merge_word(vocabulary_, vocabulary_.token_bytes(id), ids);
    ASSERT_THAT(ids, ElementsAre(id));
  }
  EXPECT_EQ(vocabulary_.token_bytes(vocabulary_.end_of_text()), "<|endoftext|>");
}

TEST_F(EncoderTest, AgreesWithTheOracleOnRandomText) {
  const std::array<std::string, 20> pieces = {"the",
                                              "ing",
                                              "tion",
                                              "s",
                                              "'s",
                                              "'",
                                              " ",
                                              " ",
                                              "  ",
                                              "\n",
                                              "\r\n",
                                              "12",
                                              "3",
                                              "?!",
                                              "...",
                                              "\xC3\xA9t\xC3\xA9",
                                              "\xE6\x97\xA5\xE6\x9C\xAC",
                                              "\xF0\x9F\x98\x80",
                                              "\xC2\x85",
                                              "\xE2\x80\x99"};
  std::mt19937_64 random(11);
  for (int round = 0; round < 1000; ++round) {
    std::string text(static_cast<std::size_t>(round % 64), 'q');
    const std::size_t size = random() % 120;
    for (std::size_t i = 0; i < size; ++i) text += pieces[random() % pieces.size()];
    ASSERT_EQ(encode(text), test::encode_by_the_book(vocabulary_, text)) << "round " << round;
    ASSERT_EQ(decode(encode(text)), text);
  }
}

TEST_F(EncoderTest, AgreesWithTheOracleOnRealText) {
  const auto data = test::shared_data();
  if (!data) GTEST_SKIP() << "../shared/data is not there";
  for (const char* const name : {"tinystories/train.txt", "tinystories/valid.txt"}) {
    const std::string text = test::read_text(*data / name);
    EXPECT_TRUE(encode(text) == test::encode_by_the_book(vocabulary_, text)) << name;
  }
}

TEST_F(EncoderTest, LongWordsMergeAsShortOnesDo) {
  std::mt19937_64 random(5);
  for (const std::size_t size : {63U, 64U, 65U, 66U, 200U, 700U}) {
    for (int round = 0; round < 20; ++round) {
      std::string word;
      for (std::size_t i = 0; i < size; ++i) word += static_cast<char>('a' + random() % (round % 2 == 0 ? 2 : 26));
      Ids ids;
      merge_word(vocabulary_, word, ids);
      ASSERT_EQ(ids, test::merge_by_the_book(vocabulary_, word)) << word;
    }
  }
}

// A quadratic merge would take hours here and run into the time-out.
TEST_F(EncoderTest, AMillionOfOneCharacterIsNoTrouble) {
  for (const std::string character : {"a", "'", " ", "\xF0\x9F\x98\x80", "\xC2\x85", "7", "\xFF"}) {
    std::string text;
    while (text.size() < 1000000) text += character;
    EXPECT_EQ(decode(encode(text)), text);
  }
}

}  // namespace
}  // namespace kangpt::data
