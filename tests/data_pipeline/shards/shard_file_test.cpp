#include "data_pipeline/shards/shard_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.hpp"
#include "tests/data_pipeline/shards/small_dataset.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::data {
namespace {

using ::testing::HasSubstr;

class ShardFileTest : public ::testing::Test {
 protected:
  ShardRecord write(std::uint64_t vocabulary_size) const {
    ShardBuffer buffer({vocabulary_size, "test", vocabulary_size - 1});
    for (const auto& story : stories_) buffer.append_story(story);
    return buffer.write(folder_.path(), "train-00000.h5");
  }

  std::vector<std::int64_t> all_tokens() const {
    std::vector<std::int64_t> all;
    for (const auto& story : stories_) all.insert(all.end(), story.begin(), story.end());
    return all;
  }

  std::string reading_error(const ShardRecord& record) const {
    try {
      ShardReader reader(folder_.path(), record, {50257, "test"});
      reader.verify();
    } catch (const DataError& error) {
      return error.what();
    }
    return "(no error)";
  }

  test::Stories stories_ = test::numbered_stories(5000);  // 107,000 tokens: four blocks
  test::TemporaryDirectory folder_;
};

TEST_F(ShardFileTest, GivesBackWhatWasWrittenAtEitherWidth) {
  const std::vector<std::int64_t> expected = all_tokens();
  for (const std::uint64_t vocabulary : {50257U, 70000U}) {
    const ShardRecord record = write(vocabulary);
    ShardReader reader(folder_.path(), record, {vocabulary, "test"});
    ASSERT_EQ(reader.tokens(), expected.size());
    EXPECT_EQ(reader.stories(), stories_.size());
    EXPECT_EQ(reader.doc_offsets()[1], stories_[0].size());
    std::vector<std::int64_t> ids(expected.size());
    reader.read(0, ids);
    EXPECT_EQ(ids, expected);
    std::vector<std::int64_t> part(40000);
    reader.read(32000, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + 32000));
  }
}

TEST_F(ShardFileTest, ReadsChunkedAndCompressedFilesThroughHdf5) {
  ShardRecord record = write(50257);
  const std::string original = (folder_ / "train-00000.h5").string();
  const auto repack = test::run_program(
      {"h5repack", "-f", "tokens:GZIP=1", "-l", "tokens:CHUNK=1000", original, (folder_ / "packed.h5").string()});
  ASSERT_EQ(repack.exit_code, 0) << repack.all_output();
  record.name = "packed.h5";
  record.size_bytes = test::fs::file_size(folder_ / "packed.h5");
  record.frame_xxh3.clear();
  ShardReader reader(folder_.path(), record, {50257, "test"});
  const std::vector<std::int64_t> expected = all_tokens();
  std::vector<std::int64_t> ids(expected.size());
  reader.read(0, ids);
  EXPECT_EQ(ids, expected);
}

TEST_F(ShardFileTest, H5dumpReadsIt) {
  write(50257);
  const auto dump = test::run_program({"h5dump", "-d", "/tokens[0;;3]", (folder_ / "train-00000.h5").string()});
  EXPECT_THAT(dump.all_output(), HasSubstr("H5T_STD_U16LE"));
  EXPECT_THAT(dump.all_output(), HasSubstr("(0): 0, 1, 50256"));
}

TEST_F(ShardFileTest, TheSameStoriesMakeTheSameBytes) {
  write(50257);
  const std::string first = test::read_text(folder_ / "train-00000.h5");
  write(50257);
  EXPECT_TRUE(first == test::read_text(folder_ / "train-00000.h5"));
}

TEST_F(ShardFileTest, EveryDamageIsFoundAndNamesTheFile) {
  const ShardRecord record = write(50257);
  const test::fs::path path = folder_ / "train-00000.h5";
  const std::string good = test::read_text(path);
  EXPECT_EQ(reading_error(record), "(no error)");
  test::truncate_file(path, good.size() - 5000);
  EXPECT_THAT(reading_error(record), HasSubstr("train-00000.h5"));
  test::write_text(path, "");
  EXPECT_THAT(reading_error(record), HasSubstr("train-00000.h5"));
  test::write_text(path, good);
  test::flip_byte(path, 8192 + 70000);
  EXPECT_THAT(reading_error(record), HasSubstr("wrong checksum of block 1"));
  std::size_t found = 0;
  for (std::size_t offset = 0; offset < good.size(); offset += 997) {
    test::write_text(path, good);
    test::flip_byte(path, offset);
    if (reading_error(record) != "(no error)") ++found;
  }
  EXPECT_GT(found, good.size() / 997 * 9 / 10) << "the rest is padding between the parts of the file";
}

TEST_F(ShardFileTest, TokensOutsideTheVocabularyAreFound) {
  stories_[7][0] = 60000;
  EXPECT_THAT(reading_error(write(50257)), HasSubstr("token 60000"));
}

TEST_F(ShardFileTest, ARecordThatDoesNotFitIsRefused) {
  ShardRecord record = write(50257);
  ++record.stories;
  EXPECT_THAT(reading_error(record), HasSubstr("other counts"));
}

SplitRecord small_split(const std::string& name) {
  SplitRecord split{name, 5, 11, 33, 1, 2, 3, {4, 5, 6, 7}, {}};
  split.shards = {{shard_name(name, 0), 99, 2, 5, "x1", 4096, "f"}, {shard_name(name, 1), 98, 3, 6, "x2", 4097, ""}};
  return split;
}

// Every data directory that there is says it so.
TEST(DataManifest, TheTextStaysTheSame) {
  Manifest manifest;
  manifest.vocabulary_size = 5;
  manifest.vocabulary_sha256 = "ab";
  manifest.options = {7, "replace", "skip", "anywhere", "k\"\n", true, "vo"};
  manifest.sources = {{"p", "train", 9, "s"}, {"-", "validation", 0, ""}};
  manifest.splits = {small_split("train"), small_split("validation")};
  manifest.resume = ResumePoint{"train", 1, 2, 3, "bl"};
  const std::string text = R"(format_version: 1
vocabulary {
  size: 5
  sha256: "ab"
}
options {
  shard_tokens: 7
  invalid_utf8: "replace"
  key: "k\"\n"
  deduplicate: true
  vocabulary: "vo"
  invalid_records: "skip"
  separator: "anywhere"
}
source {
  path: "p"
  split: "train"
  size_bytes: 9
  sha256: "s"
}
source {
  path: "-"
  split: "validation"
}
split {
  name: "train"
  stories: 5
  tokens: 11
  text_bytes: 33
  empty_stories: 1
  duplicate_stories: 2
  replaced_bytes: 3
  bytes_per_token: 3
  shard {
    name: "train-00000.h5"
    size_bytes: 99
    stories: 2
    tokens: 5
    xxh3: "x1"
    tokens_offset: 4096
    frame_xxh3: "f"
  }
  shard {
    name: "train-00001.h5"
    size_bytes: 98
    stories: 3
    tokens: 6
    xxh3: "x2"
    tokens_offset: 4097
  }
  separators_in_text: 4
  zero_bytes: 5
  byte_order_marks: 6
  skipped_records: 7
}
split {
  name: "validation"
  stories: 5
  tokens: 11
  text_bytes: 33
  empty_stories: 1
  duplicate_stories: 2
  replaced_bytes: 3
  bytes_per_token: 3
  shard {
    name: "validation-00000.h5"
    size_bytes: 99
    stories: 2
    tokens: 5
    xxh3: "x1"
    tokens_offset: 4096
    frame_xxh3: "f"
  }
  shard {
    name: "validation-00001.h5"
    size_bytes: 98
    stories: 3
    tokens: 6
    xxh3: "x2"
    tokens_offset: 4097
  }
  separators_in_text: 4
  zero_bytes: 5
  byte_order_marks: 6
  skipped_records: 7
}
resume {
  split: "train"
  source: 1
  block: 2
  story: 3
  blocks_through: "bl"
}
# sha256 add840c041d4078954e41d2b41e0d044fa88bed5c41b18ad008250a785bc926c
)";
  EXPECT_EQ(to_text(manifest), text);
  const test::TemporaryDirectory folder;
  test::write_text(folder / kPartialManifestName, text);
  EXPECT_EQ(read_manifest(folder / kPartialManifestName), manifest);
}

}  // namespace
}  // namespace kangpt::data
