// Mutated manifests, shards and sources: each is either read or refused with an Error, without a crash and without
// memory beyond a small multiple of the file. KANGPT_FUZZ_INPUTS is how many of each.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/seal.hpp"
#include "data_pipeline/batches/batches.hpp"
#include "data_pipeline/preprocess/preprocess.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/text/stories.hpp"
#include "data_pipeline/tokenizer/unicode.hpp"
#include "tests/data_pipeline/shards/small_dataset.hpp"
#include "tests/support/files.hpp"
#include "tests/support/mutation.hpp"

namespace kangpt::data {
namespace {

class DataFuzzTest : public ::testing::Test {
 protected:
  // As a new file each time: file systems make rewriting an old one wait for the disk.
  void write_anew(const fs::path& name, const std::string& bytes) const {
    fs::remove(folder_ / name);
    test::write_text(folder_ / name, bytes);
  }

  std::vector<std::int64_t> all_tokens() const {
    TokenStore store(folder_.path(), kTrainSplit);
    std::vector<std::int64_t> tokens(store.tokens());
    store.read(0, tokens);
    store.verify();
    return tokens;
  }

  test::TemporaryDirectory folder_;
};

TEST_F(DataFuzzTest, AChangedShardIsRefusedOrHasTheSameTokens) {
  test::write_dataset(folder_.path(), test::numbered_stories(40), 40);
  const std::string valid = test::read_text(folder_ / "train-00000.h5");
  const std::vector<std::int64_t> tokens = all_tokens();
  const int count = test::count_refused({valid, {"TREE", "HEAP", "SNOD", std::string(8, '\xff')}, KANGPT_FUZZ_INPUTS},
                                        [&](const std::string& bytes) {
                                          write_anew("train-00000.h5", bytes);
                                          EXPECT_TRUE(all_tokens() == tokens);
                                        });
  EXPECT_GT(count, KANGPT_FUZZ_INPUTS * 9 / 10);
}

const std::vector<std::string> kManifestWords = {"shard {\n",
                                                 "split { name: \"train\" }\n",
                                                 "}\n",
                                                 "resume { split: \"validation\" source: 1 }\n",
                                                 "name: \"../train-00000.h5\"\n",
                                                 "options { separator: \"anywhere\" invalid_records: \"skip\" }\n",
                                                 "zero_bytes: 18446744073709551615\n",
                                                 "18446744073709551615",
                                                 "\"",
                                                 "nan",
                                                 "\\x0",
                                                 "[a.b/c] { }",
                                                 "<<<<<<<<<<"};

TEST_F(DataFuzzTest, AChangedManifestIsRefused) {
  const std::string valid = to_text(test::write_dataset(folder_.path(), test::numbered_stories(40), 10));
  int unchanged = 0;
  const int count = test::count_refused({valid, kManifestWords, KANGPT_FUZZ_INPUTS}, [&](const std::string& text) {
    unchanged += text == valid ? 1 : 0;
    write_anew(kManifestName, text);
    read_manifest(folder_ / kManifestName);
  });
  EXPECT_EQ(count + unchanged, KANGPT_FUZZ_INPUTS);
}

// With a fresh seal, so that what is behind it is reached.
TEST_F(DataFuzzTest, AManifestThatLiesAboutItsShardsDoesNoHarm) {
  const std::string valid = to_text(test::write_dataset(folder_.path(), test::numbered_stories(40), 10));
  const int count = test::count_refused({std::string(*base::unseal(valid)), kManifestWords, KANGPT_FUZZ_INPUTS},
                                        [&](const std::string& body) {
                                          write_anew(kManifestName, base::sealed(body));
                                          dataset_facts(folder_.path());
                                          all_tokens();
                                        });
  EXPECT_GT(count, KANGPT_FUZZ_INPUTS / 2);
}

std::string file_of(TextFormat format) {
  return format == TextFormat::kText ? "in.txt" : format == TextFormat::kJson ? "in.json" : "in.jsonl";
}

// All stories of the file. Throws DataError.
std::vector<std::string> stories_of(const fs::path& file, const StoryOptions& options) {
  SpareBuffers<std::string> spare;
  TextBlocks blocks(file.string(), options.separators, spare);
  std::vector<std::string> texts;
  while (const std::optional<TextBlock> block = blocks.next()) {
    const BlockStories found(*block, options);
    for (const Story& story : found.stories()) texts.emplace_back(story.text.text);
  }
  return texts;
}

// Whatever a source holds, in each format and with each option: what is read is valid UTF-8 without separators that
// separate, and what the options tolerate is not refused.
TEST_F(DataFuzzTest, ChangedTextGivesStoriesOrIsRefusedForWhatTheOptionsDoNotTolerate) {
  const std::vector<std::string> words = {
      "<|endoftext|>", "\n<|endoftext|>\n", "\n", "\r", "\xEF\xBB\xBF",  "\xFF", std::string(9, '\0'),
      "\\ud83d",       "\\u0000",           "\"", "]",  "{\"text\": 1}", ",",    "\xFF\xFE"};
  const std::map<TextFormat, std::string> valid = {
      {TextFormat::kText, "One.\n<|endoftext|>\nTwo <|endoftext|> in a line.\n \n<|endoftext|>\nThree.\n"},
      {TextFormat::kJsonLines,
       "{\"text\": \"One.\", \"n\": [1, {}]}\n\"Two<|endoftext|>\"\n{\"story\": \"Thr\\u00e9e\\ud83d\\ude00\"}\n"},
      {TextFormat::kJson,
       "[{\"text\": \"One.\", \"n\": [1, {}]},\n\"Two<|endoftext|>\",\n{\"story\": \"Thr\\u00e9e\"}]\n"}};
  std::mt19937_64 random(3);
  for (const auto& [format, text] : valid) {
    int read = 0;
    test::count_refused({text, words, KANGPT_FUZZ_INPUTS}, [&](const std::string& content) {
      StoryOptions options{format, "in", ""};
      if (random() % 2 == 0) options.invalid_utf8 = InvalidUtf8::kReplace;
      if (random() % 2 == 0) options.invalid_records = InvalidRecords::kSkip;
      if (random() % 2 == 0) options.separators = SeparatorPlace::kAnywhere;
      write_anew(file_of(options.format), content);
      try {
        for (const std::string& story : stories_of(folder_ / file_of(options.format), options)) {
          EXPECT_EQ(valid_utf8_prefix(story), story.size()) << content;
          if (options.separators == SeparatorPlace::kAnywhere) {
            EXPECT_EQ(story.find(kSeparator), std::string::npos) << content;
          }
        }
        ++read;
      } catch (const DataError& error) {
        const std::string_view problem = error.what();
        const bool of_utf8 = problem.find("--invalid-utf8") != std::string_view::npos;
        const bool of_record = problem.find("--invalid-records") != std::string_view::npos;
        EXPECT_FALSE(of_utf8 && options.invalid_utf8 == InvalidUtf8::kReplace) << content << problem;
        EXPECT_FALSE(of_record && options.invalid_records == InvalidRecords::kSkip) << content << problem;
        EXPECT_TRUE(options.format == TextFormat::kJson || of_utf8 || of_record ||
                    problem.find("not UTF-8 text") != std::string_view::npos ||
                    problem.find("binary file") != std::string_view::npos ||
                    problem.find(" text, not UTF-8") != std::string_view::npos)
            << content << problem;
        throw;
      }
    });
    EXPECT_GT(read, KANGPT_FUZZ_INPUTS / 10);
  }
}

// A small vocabulary, which loads quickly.
std::string bytes_alone() {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string lines;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    lines += {kDigits[byte / 4], kDigits[byte % 4 * 16], '=', '='};
    lines += " " + std::to_string(byte) + "\n";
  }
  return lines;
}

// What an interrupted run left, changed and sealed again: the next run takes it up, starts over or refuses. Each waits
// for the disk many times.
TEST_F(DataFuzzTest, AnUnfinishedManifestThatLiesDoesNoHarm) {
  test::write_text(folder_ / "bytes.tiktoken", bytes_alone());
  test::write_text(folder_ / "in.txt", "One.\n<|endoftext|>\nTwo.\n<|endoftext|>\nThree.\n");
  PreprocessRequest request;
  request.inputs = {(folder_ / "in.txt").string()};
  request.output = folder_ / "out";
  request.workers = 1;
  request.options.shard_tokens = 6;
  request.options.vocabulary = (folder_ / "bytes.tiktoken").string();
  Manifest manifest = preprocess(request);
  manifest.splits[0].shards.resize(1);
  manifest.splits[0].stories = 1;
  manifest.splits[0].tokens = manifest.splits[0].shards[0].tokens;
  manifest.sources[0].sha256.clear();
  const std::string text = test::read_text(folder_ / "in.txt");
  const std::uint64_t block = base::xxh3(std::as_bytes(std::span(text)));
  const std::array<std::uint64_t, 2> link = {0, block};  // as a real run would have left it
  manifest.resume = ResumePoint{kTrainSplit, 0, 0, 1, to_hexadecimal(base::xxh3(std::as_bytes(std::span(link))))};
  const auto go_on = [&](const std::string& body) {
    fs::remove(request.output / kManifestName);
    test::write_text(request.output / kPartialManifestName, base::sealed(body));
    preprocess(request);
    EXPECT_GE(read_manifest(request.output / kManifestName).splits.at(0).shards.size(), 1U);
  };
  test::count_refused({std::string(*base::unseal(to_text(manifest))), kManifestWords, KANGPT_FUZZ_INPUTS / 20}, go_on);
}

}  // namespace
}  // namespace kangpt::data
