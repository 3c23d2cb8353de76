#include "data_pipeline/vocabulary.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/error.hpp"
#include "data_pipeline/encoder.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

using ::testing::HasSubstr;

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = (bits << 8) | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      text += k <= std::min<std::size_t>(3, bytes.size() - i) ? kDigits[(bits >> (18 - 6 * k)) & 63U] : '=';
  }
  return text;
}

std::string message_for(const test::fs::path& file) {
  try {
    Vocabulary::load(file);
  } catch (const DataError& error) {
    return error.what();
  }
  return "(no error)";
}

TEST(Vocabulary, AllThreeFormatsGiveTheSameTokens) {
  const test::TemporaryDirectory folder;
  const std::string bpe = test::read_text(test::vocabulary_file());
  const Vocabulary expected = Vocabulary::load(test::vocabulary_file());
  test::write_text(folder / "merges.txt", bpe.substr(bpe.find('\n') + 1));
  std::string lines;
  for (std::uint32_t id = 0; id < expected.end_of_text(); ++id)
    lines += base64(expected.token_bytes(id)) + " " + std::to_string(id) + "\r\n";
  test::write_text(folder / "gpt2.tiktoken", lines);
  for (const char* const name : {"merges.txt", "gpt2.tiktoken"}) {
    const Vocabulary vocabulary = Vocabulary::load(folder / name);
    ASSERT_EQ(vocabulary.size(), expected.size()) << name;
    for (std::uint32_t id = 0; id < expected.size(); ++id)
      ASSERT_EQ(vocabulary.token_bytes(id), expected.token_bytes(id)) << name << " " << id;
    std::mt19937_64 random(3);
    for (int round = 0; round < 3000; ++round) {
      std::string word;
      for (std::size_t i = 1 + random() % 20; i > 0; --i)
        word += static_cast<char>(round % 2 == 0 ? random() : 'a' + random() % 26);
      std::vector<std::uint32_t> ids, expected_ids;
      merge_word(vocabulary, word, ids);
      merge_word(expected, word, expected_ids);
      ASSERT_EQ(ids, expected_ids) << name << " " << word;
    }
  }
}

TEST(Vocabulary, DamagedFilesAreNamedWithTheLine) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "empty.bpe", "");
  test::write_text(folder / "prose.bpe", "#version: 0.2\na b\nthis is prose\n");
  test::write_text(folder / "order.bpe", "#version: 0.2\nab c\n");
  test::write_text(folder / "twice.bpe", "a b\na b\n");
  test::write_text(folder / "gap.tiktoken", "IQ== 0\nIg== 2\n");
  test::write_text(folder / "bytes.tiktoken", "IQ== 0\n");
  EXPECT_THAT(message_for(folder / "empty.bpe"), HasSubstr("no merges"));
  EXPECT_THAT(message_for(folder / "prose.bpe"), HasSubstr("prose.bpe:3:"));
  EXPECT_THAT(message_for(folder / "order.bpe"), HasSubstr("'ab' is not a token yet"));
  EXPECT_THAT(message_for(folder / "twice.bpe"), HasSubstr("twice.bpe:2:"));
  EXPECT_THAT(message_for(folder / "gap.tiktoken"), HasSubstr("expected rank 1"));
  EXPECT_THAT(message_for(folder / "bytes.tiktoken"), HasSubstr("no token for byte 0"));
}

TEST(Vocabulary, IdsOutsideAreRefused) {
  const Vocabulary vocabulary = Vocabulary::load(test::vocabulary_file());
  for (const std::int64_t id : {std::int64_t{50257}, std::int64_t{-1}, std::int64_t{1} << 40}) {
    EXPECT_THROW(vocabulary.decode(std::vector<std::int64_t>{id}), DataError) << id;
  }
}

TEST(Vocabulary, AMissingFileComesWithTheCommandThatMakesIt) {
  const test::TemporaryDirectory folder;
  const std::string before = std::getenv("KANGPT_CACHE");
  ::setenv("KANGPT_CACHE", folder.path().c_str(), 1);
  try {
    find_vocabulary("");
    ADD_FAILURE() << "found a vocabulary in an empty folder";
  } catch (const MissingInputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("make setup"));
  }
  ::setenv("KANGPT_CACHE", before.c_str(), 1);
  EXPECT_EQ(find_vocabulary(""), test::vocabulary_file());
  EXPECT_THROW(find_vocabulary((folder / "absent").string()), MissingInputError);
}

}  // namespace
}  // namespace kangpt::data
