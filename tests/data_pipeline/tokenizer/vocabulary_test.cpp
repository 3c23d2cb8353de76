#include "data_pipeline/tokenizer/vocabulary.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>

#include "base/error.hpp"
#include "data_pipeline/tokenizer/encoder.hpp"
#include "tests/data_pipeline/tokenizer/encoding_oracle.hpp"
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

// tiktoken's own way: a word that is a token is that token; else the two neighbours whose bytes together are the token
// of lowest rank merge, the leftmost first.
std::vector<std::uint32_t> encode_like_tiktoken(const std::map<std::string, std::uint32_t>& ranks,
                                                const std::string& word) {
  if (const auto whole = ranks.find(word); whole != ranks.end()) return {whole->second};
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  while (true) {
    auto best = ranks.end();
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found == ranks.end() || (best != ranks.end() && best->second <= found->second)) continue;
      best = found;
      where = i;
    }
    if (best == ranks.end()) break;
    parts[where] = best->first;
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  std::vector<std::uint32_t> ids;
  for (const std::string& part : parts) ids.push_back(ranks.at(part));
  return ids;
}

// Random tokens, many of which no merges reach.
TEST(Vocabulary, WholeWordsOfATiktokenFileAreTheirTokensAsTiktokenHasIt) {
  const test::TemporaryDirectory folder;
  std::mt19937_64 random(17);
  const auto letters = [&random](std::size_t size) {
    std::string text;
    for (; size > 0; --size) text += static_cast<char>('a' + random() % 3);
    return text;
  };
  std::map<std::string, std::uint32_t> ranks;
  std::string lines;
  const auto add = [&](const std::string& bytes) {
    if (ranks.try_emplace(bytes, static_cast<std::uint32_t>(ranks.size())).second)
      lines += base64(bytes) + " " + std::to_string(ranks.at(bytes)) + "\n";
  };
  for (unsigned byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (int i = 0; i < 2000; ++i) add(letters(2 + random() % 8));
  for (const std::size_t size : {15U, 16U, 64U, 65U, 300U}) add(letters(size));
  test::write_text(folder / "random.tiktoken", lines);
  const Vocabulary vocabulary = Vocabulary::load(folder / "random.tiktoken");
  ASSERT_EQ(vocabulary.size(), ranks.size() + 1);
  std::vector<std::string> words;
  for (const auto& [bytes, rank] : ranks) words.push_back(bytes);
  for (int i = 0; i < 3000; ++i) words.push_back(letters(1 + random() % 80));
  Encoder encoder(vocabulary);
  int unreachable = 0;
  for (const std::string& word : words) {
    const std::vector<std::uint32_t> expected = encode_like_tiktoken(ranks, word);
    std::vector<std::uint32_t> ids, encoded;
    merge_word(vocabulary, word, ids);
    ASSERT_EQ(ids, expected) << word;
    if (word.find_first_not_of("abc") != std::string::npos) continue;  // maybe not valid UTF-8
    encoder.encode(std::string_view(word), encoded);
    encoder.encode(std::string_view(word), encoded);  // from the cache
    ids.insert(ids.end(), expected.begin(), expected.end());
    ASSERT_EQ(encoded, ids) << word;
    unreachable += expected.size() == 1 && test::merge_by_the_book(vocabulary, word).size() > 1 ? 1 : 0;
  }
  EXPECT_GT(unreachable, 100);
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
