// Vocabularies in the files of other programs: read and written with equal ids, or refused by name and place.
#include "data_pipeline/tokenizer/vocabulary_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "base/error.hpp"
#include "data_pipeline/tokenizer/byte_characters.hpp"
#include "data_pipeline/tokenizer/encoder.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "tests/data_pipeline/tokenizer/with_tokenizers.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mutation.hpp"

namespace kangpt::data {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using Random = std::mt19937_64;

// Tokens in any order of ids, of which several pairs may make the same; special ones among them.
VocabularyParts random_parts(Random& random) {
  std::vector<std::string> tokens;
  std::set<std::string> known;
  for (int byte = 0; byte < 256; ++byte) known.insert(tokens.emplace_back(1, static_cast<char>(byte)));
  std::vector<std::pair<std::string, std::string>> pairs;
  const std::string often = " abcAB1!\n\xC3\xA9";
  for (int i = 0; i < 400; ++i) {
    const auto pick = [&] {
      return random() % 3 == 0 ? tokens[random() % tokens.size()] : std::string(1, often[random() % often.size()]);
    };
    const std::string left = pick(), right = pick();
    if (left.size() + right.size() > 20) continue;
    if (known.insert(left + right).second) tokens.push_back(left + right);
    if (std::find(pairs.begin(), pairs.end(), std::pair(left, right)) == pairs.end()) pairs.emplace_back(left, right);
  }
  if (random() % 2 == 0) std::shuffle(pairs.begin(), pairs.end(), random);
  for (const char* const name : {"<|endoftext|>", "<pad>", "<|im start|>", "<|im start|>2", "caf\xC3\xA9!"})
    if (tokens.size() % 2 == 0 || name[1] == '|') tokens.push_back(std::string("\xFF\xFF") + name);  // to tell it apart
  std::shuffle(tokens.begin(), tokens.end(), random);
  VocabularyParts parts;
  std::map<std::string, std::uint32_t> ids;
  for (const std::string& token : tokens) {
    const auto id = static_cast<std::uint32_t>(parts.tokens.size());
    const bool special = token.starts_with("\xFF\xFF") && token.size() > 4;
    parts.tokens.push_back(special ? token.substr(2) : token);
    ids[token] = id;
    if (special) parts.special.push_back(id);
    if (special && parts.tokens.back() == kEndOfText) parts.end_of_text = id;
  }
  for (const auto& [left, right] : pairs) parts.merges.push_back({ids[left], ids[right], ids[left + right]});
  parts.merging = random() % 2 == 0 ? Merging::kListed : Merging::kListedAfterWholeWords;
  return parts;
}

std::string random_text(const Vocabulary& vocabulary, Random& random) {
  static const std::vector<std::string> pieces = {
      "a",  "b",  "ab", "abc", "cab", "A",  "BA",       "1", "11",           " ",
      "  ", "\n", "\t", "!",   "!!",  "'s", "\xC3\xA9", "'", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80"};
  std::string text;
  for (std::size_t count = 1 + random() % 60; count > 0; --count) {
    const auto& special = vocabulary.special_tokens();
    text += random() % 20 == 0 ? std::string(vocabulary.token_bytes(special[random() % special.size()]))
                               : pieces[random() % pieces.size()];
  }
  return text;
}

void expect_equal(const Vocabulary& a, const Vocabulary& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::uint32_t id = 0; id < a.size(); ++id) ASSERT_EQ(a.token_bytes(id), b.token_bytes(id)) << id;
  EXPECT_EQ(a.special_tokens(), b.special_tokens());
  EXPECT_EQ(a.end_of_text(), b.end_of_text());
  EXPECT_EQ(a.takes_whole_words(), b.takes_whole_words());
  ASSERT_EQ(a.merges().size(), b.merges().size());
  for (std::size_t rank = 0; rank < a.merges().size(); ++rank) {
    EXPECT_EQ(a.merges()[rank].left, b.merges()[rank].left) << rank;
    EXPECT_EQ(a.merges()[rank].right, b.merges()[rank].right) << rank;
    EXPECT_EQ(a.merges()[rank].token, b.merges()[rank].token) << rank;
  }
}

class VocabularyFiles : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& content) {
    test::write_text(folder_ / name, content);
    return folder_ / name;
  }

  // Python's package gives the same ids to texts as this vocabulary, and the texts back; false where it is missing.
  bool encodes_as_python(const Vocabulary& vocabulary, const fs::path& file, const std::vector<std::string>& texts) {
    const auto python = test::with_tokenizers({"encode", file.string()}, Json(texts).dump());
    if (!python) return false;
    EXPECT_EQ(python->at("size"), vocabulary.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(Json(prompt_tokens(vocabulary, texts[i])), python->at("ids")[i]) << texts[i];
      EXPECT_EQ(python->at("texts")[i], texts[i]);
      if (::testing::Test::HasFailure()) break;
    }
    return true;
  }

  std::string refusal(const std::string& name, const std::string& content) {
    try {
      Vocabulary::load(write(name, content));
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  }

  test::TemporaryDirectory folder_;
};

TEST_F(VocabularyFiles, WhatIsWrittenReadsTheSameHereAndInPython) {
  Random random(11);
  for (int round = 0; round < 5; ++round) {
    const Vocabulary vocabulary(random_parts(random), {});
    const fs::path file = write("tokenizer.json", tokenizer_json(vocabulary));
    expect_equal(Vocabulary::load(file), vocabulary);
    std::vector<std::string> texts;
    for (int i = 0; i < 300; ++i) texts.push_back(random_text(vocabulary, random));
    if (!encodes_as_python(vocabulary, file, texts)) GTEST_SKIP() << test::kNoTokenizers;
    if (HasFailure()) return;
  }
}

// A .tiktoken file whose tokens come in any order: what merges follows from the tokens, and is written down.
TEST_F(VocabularyFiles, MergesThatRanksImplyAreWritten) {
  Random random(5);
  VocabularyParts parts;
  std::set<std::string> known;
  const auto add = [&](const std::string& token) {
    if (known.insert(token).second) parts.tokens.push_back(token);
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (int i = 0; i < 600; ++i) {
    std::string token;
    for (std::size_t size = 2 + random() % 6; size > 0; --size) token += static_cast<char>('a' + random() % 3);
    add(token);
  }
  parts.end_of_text = static_cast<std::uint32_t>(parts.tokens.size());
  parts.special = {parts.end_of_text};
  parts.tokens.emplace_back(kEndOfText);
  parts.merging = Merging::kByRank;
  const Vocabulary vocabulary(parts, {});
  const fs::path file = write("tokenizer.json", tokenizer_json(vocabulary));
  expect_equal(Vocabulary::load(file), vocabulary);
  std::vector<std::string> texts;
  for (int i = 0; i < 2000; ++i) texts.push_back(random_text(vocabulary, random));
  if (!encodes_as_python(vocabulary, file, texts)) GTEST_SKIP() << test::kNoTokenizers;
}

TEST_F(VocabularyFiles, GPT2sReadsTheSameInPython) {
  const Vocabulary vocabulary = Vocabulary::load(test::vocabulary_file());
  const fs::path file = write("tokenizer.json", tokenizer_json(vocabulary));
  expect_equal(Vocabulary::load(file), vocabulary);
  Random random(2);
  std::vector<std::string> texts = {
      "Once upon a time, there's a l\xC3\xADttle   girl.\n\nShe'd 3 cats!<|endoftext|>The end."};
  for (int i = 0; i < 500; ++i) texts.push_back(random_text(vocabulary, random));
  if (!encodes_as_python(vocabulary, file, texts)) GTEST_SKIP() << test::kNoTokenizers;
}

TEST_F(VocabularyFiles, WhatPythonTrainsIsRead) {
  std::string text;
  Random random(3);
  for (int i = 0; i < 3000; ++i)
    text += (i % 7 == 0 ? ".\n" : " ") + std::string(1 + random() % 4, "abcde"[random() % 5]);
  const auto merges =
      test::with_tokenizers({"train", "300", folder_.path().string()}, Json({Json::array({text})}).dump());
  if (!merges) GTEST_SKIP() << test::kNoTokenizers;
  const Vocabulary vocabulary = Vocabulary::load(folder_ / "tokenizer.json");
  EXPECT_EQ(vocabulary.size(), 257 + merges->at(0).size());
  EXPECT_EQ(vocabulary.end_of_text(), 0U) << "Python's trainer begins with the special tokens";
  std::vector<std::string> texts = {text};
  for (int i = 0; i < 300; ++i) texts.push_back(random_text(vocabulary, random));
  encodes_as_python(vocabulary, folder_ / "tokenizer.json", texts);
  const Vocabulary pair = Vocabulary::load(folder_ / "vocab.json");
  expect_equal(pair, vocabulary);
  EXPECT_EQ(pair.file().name, "tokenizer.json");
  try {
    Vocabulary::load(folder_ / "merges.txt");
    ADD_FAILURE() << "read with other ids than vocab.json has";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("vocab.json gives other ids"));
  }
  fs::remove(folder_ / "tokenizer.json");
  expect_equal(Vocabulary::load(folder_.path()), vocabulary);
  fs::remove(folder_ / "merges.txt");
  EXPECT_THROW(Vocabulary::load(folder_.path()), MissingInputError);
  EXPECT_THROW(Vocabulary::load(folder_ / "nothing"), MissingInputError);
}

// A small one that is right.
Json valid() {
  VocabularyParts parts;
  for (const std::uint8_t byte : bytes_by_character()) parts.tokens.emplace_back(1, static_cast<char>(byte));
  parts.tokens.insert(parts.tokens.end(), {"ab", "abc", "<|endoftext|>"});
  parts.merges = {{64, 65, 256}, {256, 66, 257}};
  parts.special = {parts.end_of_text = 258};
  return Json::parse(tokenizer_json(parts));
}

struct Change {
  const char* pointer;
  Json value;
  const char* message;
};

TEST_F(VocabularyFiles, WhatCantBeDoneExactlyIsRefusedByName) {
  EXPECT_EQ(refusal("tokenizer.json", valid().dump()), "accepted");
  const Json split = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Split"}}, {{"type", "ByteLevel"}}}}};
  const std::vector<Change> changes = {
      {"/normalizer", {{"type", "NFC"}}, "normalizer: NFC is not supported; byte-level BPE"},
      {"/pre_tokenizer", nullptr, "pre_tokenizer: none is not supported"},
      {"/pre_tokenizer", split, "pre_tokenizer: a Sequence of Split, ByteLevel is not supported"},
      {"/pre_tokenizer/type", "Metaspace", "pre_tokenizer: Metaspace"},
      {"/pre_tokenizer/add_prefix_space", true, "ByteLevel with add_prefix_space"},
      {"/pre_tokenizer/use_regex", false, "ByteLevel without use_regex"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "post_processor: TemplateProcessing"},
      {"/decoder", {{"type", "WordPiece"}}, "decoder: WordPiece"},
      {"/truncation", {{"max_length", 5}}, "truncation: {\"max_length\":5}"},
      {"/model/type", "Unigram", "model.type: Unigram"},
      {"/model/dropout", 0.1, "model.dropout: 0.1"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix: \"</w>\""},
      {"/added_tokens/0/lstrip", true, "added_tokens[0]: lstrip of '<|endoftext|>'"},
      {"/added_tokens/0/special", false, "added_tokens[0]: '<|endoftext|>', an added token that is not special"},
  };
  for (const auto& [pointer, value, message] : changes) {
    Json json = valid();
    json[Json::json_pointer(pointer)] = value;
    EXPECT_THAT(refusal("tokenizer.json", json.dump()), HasSubstr(message)) << pointer;
  }
}

TEST_F(VocabularyFiles, WhatIsWrongIsNamedWithItsPlace) {
  const std::vector<Change> changes = {
      {"/model", nullptr, "model: missing"},
      {"/model/vocab/ab", 4, "model.vocab: two tokens have the id 4"},
      {"/model/vocab/ab", 300, "model.vocab: no token has the id 256"},
      {"/model/vocab/ab", -1, "model.vocab['ab']: expected an id below"},
      {"/model/vocab/a b", 259, "model.vocab: 'a b' has a character that stands for no byte"},
      {"/model/merges/1", {"ab", "x"}, "model.merges[1]: 'abx' is not a token"},
      {"/model/merges/1", "abc", "model.merges[1]: expected two tokens"},
      {"/model/merges/1", {"a", "b"}, "model.merges[1]: the pair stands there twice"},
      {"/model/vocab/<|endoftext|>", 259, "'<|endoftext|>' has the id 259, and 258 in added_tokens"},
      {"/added_tokens/0/content", 5, "added_tokens[0]: expected an object with content"},
      {"/added_tokens/0/content", "<other>", "added_tokens: '<other>' has the id of a token of the model"},
  };
  for (const auto& [pointer, value, message] : changes) {
    Json json = valid();
    json[Json::json_pointer(pointer)] = value;
    EXPECT_THAT(refusal("tokenizer.json", json.dump()), HasSubstr(message)) << pointer;
  }
  EXPECT_THAT(refusal("tokenizer.json", "{\"model\":\n {,"),
              HasSubstr("tokenizer.json: parse error at line 2, column 3"));
  Json json = valid();
  json["model"]["vocab"].erase("!");
  json["model"]["vocab"]["hello"] = 0;
  EXPECT_THAT(refusal("tokenizer.json", json.dump()), HasSubstr("no token for byte 33 ('!')"));
  write("vocab.json", valid()["model"]["vocab"].dump());
  write("merges.txt", "#version: 0.2\na b\nab x\n");
  try {
    Vocabulary::load(folder_ / "vocab.json");
    ADD_FAILURE() << "accepted";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("merges.txt:3: 'abx' is not a token"));
  }
}

// What a reader accepts of damaged files encodes and decodes words, and is written so that it reads the same.
void use(const VocabularyParts& parts) {
  const Vocabulary vocabulary(parts, {});
  const Vocabulary again(read_tokenizer_json("again.json", tokenizer_json(vocabulary)), {});
  for (const std::string word : {"abc", "ab", "abab", " a", "\xFF"}) {
    std::vector<std::uint32_t> ids, again_ids;
    merge_word(vocabulary, word, ids);
    merge_word(again, word, again_ids);
    ASSERT_EQ(ids, again_ids);
    ASSERT_EQ(vocabulary.decode(std::vector<std::int64_t>(ids.begin(), ids.end())), word);
  }
}

TEST_F(VocabularyFiles, DamagedFilesAreReadOrRefused) {
  const std::vector<std::string> words = {
      "\"", "{", "}", "[", "]", ",", ":", "null", "true", "\"Sequence\"", "a b\n", "\\u0120", "IQ== 0\n", "\n", " "};
  const std::string json = valid().dump();
  EXPECT_GT(test::count_refused({json, words, 10000},
                                [](const std::string& text) { use(read_tokenizer_json("f.json", text)); }),
            5000);
  const std::string ids = valid()["model"]["vocab"].dump(0);
  EXPECT_GT(test::count_refused({ids, words, 10000},
                                [](const std::string& text) {
                                  use(read_pair({"vocab.json", text, "merges.txt", "a b\nab c\n"}));
                                }),
            5000);
  EXPECT_GT(test::count_refused({"#version: 0.2\na b\nab c\n", words, 10000},
                                [&](const std::string& text) {
                                  use(read_pair({"vocab.json", ids, "merges.txt", text}));
                                }),
            3000);
  EXPECT_GT(test::count_refused({"#version: 0.2\na b\nab c\n\xC4\xA0 a\n", words, 10000},
                                [](const std::string& text) { use(read_merges("merges.txt", text)); }),
            3000);
  std::string lines;
  Random random(1);
  for (int byte = 0; byte < 256; ++byte) {
    static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    lines += std::string{kDigits[byte >> 2], kDigits[(byte & 3) << 4]} + "== " + std::to_string(byte) + "\n";
  }
  lines += "YWI= 256\nYWJj 257\n";
  EXPECT_GT(test::count_refused({lines, words, 10000},
                                [](const std::string& text) { use(read_tiktoken("f.tiktoken", text)); }),
            5000);
}

}  // namespace
}  // namespace kangpt::data
