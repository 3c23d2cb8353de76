// Data directories far larger than memory: made of one sparse file with many names, so that they take no disk.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "data_pipeline/batches/batches.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

constexpr std::uint64_t kBlockTokens = 32768;
constexpr std::uint64_t kMebibyte = std::uint64_t{1} << 20;

// A shard of `tokens` zeros, but for its last token, in stories of 200 tokens.
ShardRecord write_sparse_shard(const fs::path& path, std::uint64_t tokens, std::uint16_t last_token) {
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t token = 0; token < tokens; token += 200) offsets.push_back(token);
  offsets.push_back(tokens);
  std::vector<std::uint16_t> block(kBlockTokens);
  std::vector<std::uint32_t> sums(tokens / kBlockTokens, base::crc32c(std::as_bytes(std::span(block))));
  block.back() = last_token;
  sums.back() = base::crc32c(std::as_bytes(std::span(block)));
  io::Hdf5File file = io::Hdf5File::create(path);
  file.write_attribute("format", std::string("kangpt-tokens"));
  file.write_attribute("version", std::uint64_t{1});
  file.write_attribute("vocabulary_size", std::uint64_t{50257});
  file.write_attribute("vocabulary_sha256", std::string("test"));
  file.write_attribute("stories", std::uint64_t{offsets.size() - 1});
  file.write_attribute("tokens", tokens);
  file.write_attribute("block_tokens", kBlockTokens);
  file.write_attribute("doc_offsets_crc32c", std::uint64_t{base::crc32c(std::as_bytes(std::span(offsets)))});
  file.create_dataset("tokens", io::ElementType::kU16, tokens);
  file.write("tokens", tokens - 1, std::span<const std::uint16_t>(&last_token, 1));
  file.create_dataset("crc32c", io::ElementType::kU32, sums.size());
  file.write("crc32c", 0, std::span<const std::uint32_t>(sums));
  file.create_dataset("doc_offsets", io::ElementType::kU64, offsets.size());
  file.write("doc_offsets", 0, std::span<const std::uint64_t>(offsets));
  const std::uint64_t place = file.dataset("tokens").file_offset.value();
  file.close_unsynced();
  const base::MappedFile written(path);
  const std::span<const std::byte> bytes = written.bytes();
  return {.name = path.filename().string(),
          .size_bytes = bytes.size(),
          .stories = offsets.size() - 1,
          .tokens = tokens,
          .xxh3 = "0123456789abcdef",
          .tokens_offset = place,
          .frame_xxh3 = frame_xxh3(bytes.first(place), bytes.subspan(place + 2 * tokens))};
}

// `shards` times that shard, the last of which ends with the token 7.
Manifest write_large_dataset(const fs::path& folder, std::uint64_t shards, std::uint64_t shard_tokens) {
  Manifest manifest;
  manifest.vocabulary_size = 50257;
  manifest.vocabulary_sha256 = "test";
  manifest.sources = {{"text.txt", kTrainSplit, 1, "0"}};
  SplitRecord split;
  split.name = kTrainSplit;
  constexpr std::uint64_t kMostNames = 50'000;  // ext4 allows a file 65,000
  fs::path original;
  ShardRecord record;
  for (std::uint64_t index = 0; index < shards; ++index) {
    const bool is_last = index + 1 == shards;
    const fs::path path = folder / shard_name(kTrainSplit, index);
    if (index % kMostNames == 0 || is_last) {
      record = write_sparse_shard(path, shard_tokens, is_last ? 7 : 0);
      original = path;
    } else {
      fs::create_hard_link(original, path);
    }
    record.name = path.filename().string();
    split.shards.push_back(record);
    split.stories += record.stories;
    split.tokens += record.tokens;
  }
  manifest.splits = {split};
  base::write_file_atomically(folder / kManifestName, to_text(manifest));
  return manifest;
}

std::int64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6)) * 1024;
  return 0;
}

class LargeDatasetTest : public ::testing::Test {
 protected:
  static BatchOptions options(config::DataMode mode, const fs::path& folder) {
    BatchOptions result;
    result.sources = open_sources({{folder}});
    result.mode = mode;
    result.shuffle = config::Shuffle::kNone;
    result.sequence_length = 1024;
    result.batch_size = 4;
    return result;
  }

  // Of shards of 64 Mi tokens, and what the last batch holds: the token 7 once where the mode leaves no token out.
  void expect_little_memory(std::uint64_t shards, config::DataMode mode) {
    const test::TemporaryDirectory folder;
    write_large_dataset(folder.path(), shards, 64 * kMebibyte);
    const BatchOptions wanted = options(mode, folder.path());
    const std::int64_t before = resident_bytes();
    const auto batches = open_batches(wanted);
    EXPECT_LT(resident_bytes() - before, std::int64_t{100} << 20);
    const training::MicroBatch end = batches->micro_batch(batches->batches_per_epoch() - 1, 0);
    EXPECT_EQ(std::count(end.targets.begin(), end.targets.end(), 7), mode == config::DataMode::kPacked ? 0 : 1);
  }

  test::TemporaryDirectory folder_;
};

// 53.7 billion tokens in 268 million stories: their offsets alone are 2 GB.
TEST_F(LargeDatasetTest, AHundredGigabytesOpenWithoutTheirOffsets) {
  expect_little_memory(800, config::DataMode::kPacked);
  expect_little_memory(800, config::DataMode::kStory);
}

// Which counts rows, and so has to look at all offsets; it keeps few of them.
TEST_F(LargeDatasetTest, PaddedRowsOfManyStoriesTakeLittleMemory) {
  expect_little_memory(60, config::DataMode::kPadded);
}

TEST_F(LargeDatasetTest, AnyTokenOfFiftyBillionIsFound) {
  const Manifest manifest = write_large_dataset(folder_.path(), 800, 64 * kMebibyte);
  TokenStore store(manifest, folder_.path(), kTrainSplit);
  ASSERT_EQ(store.tokens(), 800 * 64 * kMebibyte);
  const TokenStore::TokenRange last = store.story(store.stories() - 1);
  EXPECT_EQ(last.begin + last.size, store.tokens());
  std::vector<std::int64_t> ids(300);
  store.read(store.tokens() - ids.size(), ids);
  EXPECT_EQ(ids.back(), 7);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 299);
  store.read(store.tokens() / 2 - 100, ids);  // from one shard into the next
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 300);
  EXPECT_THROW(store.read(store.tokens() - 299, ids), InternalError);
}

// Of a hundred thousand there would be more than a process may have mappings.
TEST_F(LargeDatasetTest, ManyShardsAreOpenedAFewAtATime) {
  const Manifest manifest = write_large_dataset(folder_.path(), 6'000, kBlockTokens);
  EXPECT_EQ(read_manifest(folder_ / kManifestName), manifest);
  const auto batches = open_batches(options(config::DataMode::kPacked, folder_.path()));
  for (std::uint64_t batch = 0; batch < batches->batches_per_epoch(); batch += 8) batches->micro_batch(batch, 0);
  std::ifstream maps("/proc/self/maps");
  std::uint64_t mappings = 0;
  for (std::string line; std::getline(maps, line);) mappings += line.ends_with(".h5") ? 1 : 0;
  EXPECT_GT(mappings, 0U);
  EXPECT_LT(mappings, 5'000U);
}

}  // namespace
}  // namespace kangpt::data
