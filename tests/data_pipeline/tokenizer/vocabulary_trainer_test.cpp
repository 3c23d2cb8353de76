// Training of vocabularies: the merges that Hugging Face's trainer makes of the same texts.
#include "data_pipeline/tokenizer/vocabulary_trainer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "data_pipeline/text/story_generator.hpp"
#include "data_pipeline/tokenizer/byte_characters.hpp"
#include "data_pipeline/tokenizer/word_splitter.hpp"
#include "tests/data_pipeline/tokenizer/with_tokenizers.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

using Json = nlohmann::json;
using Texts = std::vector<std::string>;

WordCounts count(const Texts& texts) {
  WordCounts counts;
  for (const std::string& text : texts) {
    const std::string padded = text + std::string(PaddedText::kPaddingBytes, 'x');
    counts.add(PaddedText{std::string_view(padded).substr(0, text.size())});
  }
  return counts;
}

Json merges_of(const VocabularyParts& parts) {
  Json merges = Json::array();
  for (const TokenMerge& merge : parts.merges)
    merges.push_back({characters_of_bytes(parts.tokens[merge.left]), characters_of_bytes(parts.tokens[merge.right])});
  return merges;
}

// Few letters and many words as often as others: ties, tokens that two pairs make, runs of one letter.
Texts many_ties(unsigned seed) {
  std::mt19937_64 random(seed);
  Texts texts(1 + random() % 20);
  for (std::string& text : texts) {
    for (std::size_t words = 1 + random() % 60; words > 0; --words) {
      text += " \n'1."[random() % 5];
      for (std::size_t length = random() % 12; length > 0; --length) text += "aaabcd\xC3\xA9"[random() % 6];
    }
  }
  return texts;
}

Texts stories(std::size_t most_bytes) {
  if (const auto data = test::shared_data()) {
    const std::string text = test::read_text(*data / "tinystories/valid.txt").substr(0, most_bytes);
    Texts texts;
    for (std::size_t begin = 0, end; begin < text.size(); begin = end + 1) {
      end = std::min(text.find("<|endoftext|>", begin), text.size());
      texts.push_back(text.substr(begin, end - begin));
    }
    return texts;
  }
  Texts texts;
  for (std::size_t bytes = 0, i = 0; bytes < most_bytes; bytes += texts.back().size(), ++i)
    texts.push_back(make_story(1, i));
  return texts;
}

TEST(VocabularyTrainer, MakesTheMergesOfHuggingFacesTrainer) {
  const test::TemporaryDirectory folder;
  std::vector<Texts> all;
  for (unsigned seed = 0; seed < 150; ++seed) all.push_back(many_ties(seed));
  all.push_back(stories(400000));
  const auto python = test::with_tokenizers({"train", "2000", folder.path().string()}, Json(all).dump());
  if (!python) GTEST_SKIP() << test::kNoTokenizers;
  for (std::size_t i = 0; i < all.size(); ++i)
    ASSERT_EQ(merges_of(train_vocabulary(count(all[i]).sorted(), 2000)), python->at(i)) << "texts " << i;
}

TEST(VocabularyTrainer, CountsWordsAsTheSplitterFindsThem) {
  const Texts texts = stories(200000);
  std::map<std::string, std::uint64_t> expected;
  for (const std::string& text : texts)
    for (std::size_t begin = 0, end; begin < text.size(); begin = end) {
      end = word_end(text, begin);
      ++expected[text.substr(begin, end - begin)];
    }
  Texts longer = {std::string(40, 'a') + " " + std::string(40, 'a') + std::string(15, '!') + std::string(1000, '\n')};
  expected[std::string(40, 'a')] += 1;
  expected[" " + std::string(40, 'a')] += 1;
  expected[std::string(15, '!')] += 1;
  expected[std::string(1000, '\n')] += 1;
  WordCounts counts = count(longer);
  counts.add(count(texts));
  std::map<std::string, std::uint64_t> found;
  for (const WordCounts::Word& word : counts.sorted()) found[word.text] += word.count;
  EXPECT_EQ(found, expected);
  EXPECT_EQ(counts.distinct_words(), expected.size());
}

TEST(VocabularyTrainer, TheMostFrequentPairMergesFirstAndTheLowestIdsAmongEquals) {
  const VocabularyParts parts = train_vocabulary({{"abab", 3}, {"ba", 3}, {"cd", 9}, {"x", 100}}, 260);
  EXPECT_EQ(parts.tokens.size(), 260U);
  // "ab" and "ba" stand there six times each, then "ba" as often as "ab" twice.
  EXPECT_EQ(merges_of(parts), Json::array({Json::array({"c", "d"}), Json::array({"a", "b"}), Json::array({"b", "a"})}));
}

TEST(VocabularyTrainer, StopsWhereNoPairIsLeft) {
  const VocabularyParts parts = train_vocabulary({{"abc", 1}, {"z", 7}}, 5000);
  EXPECT_EQ(parts.tokens.size(), 259U);
  EXPECT_EQ(parts.end_of_text, 258U);
  EXPECT_EQ(parts.tokens.back(), "<|endoftext|>");
  EXPECT_EQ(train_vocabulary({}, 257).tokens.size(), 257U);
}

}  // namespace
}  // namespace kangpt::data
