#include "data_pipeline/dataset.hpp"

#include <algorithm>

#include "base/digest.hpp"
#include "base/error.hpp"

namespace kangpt::data {
namespace {

std::size_t interval_of(const std::vector<std::uint64_t>& firsts, std::uint64_t value) {
  return static_cast<std::size_t>(std::upper_bound(firsts.begin(), firsts.end(), value) - firsts.begin()) - 1;
}

}  // namespace

Manifest open_manifest(const fs::path& directory) {
  if (!fs::is_directory(directory)) {
    throw MissingInputError(
        "there is no data directory " + directory.string() +
        ".\nMake it with: kangpt_preprocess --input TinyStories-train.txt --validation TinyStories-valid.txt "
        "--output " +
        directory.string() +
        "\nAny text will do, with a line <|endoftext|> after each story; kangpt_stories makes some up.");
  }
  const fs::path file = directory / kManifestName;
  if (fs::exists(file)) return read_manifest(file);
  if (!fs::exists(directory / kPartialManifestName)) {
    throw MissingInputError(directory.string() + " holds no " + kManifestName +
                            ", so it is not a data directory.\nMake one with: kangpt_preprocess --input FILE.txt "
                            "--validation FILE.txt --output " +
                            directory.string());
  }
  throw MissingInputError(directory.string() + " is incomplete: kangpt_preprocess did not finish.\nFinish it with: " +
                          preprocess_command(read_manifest(directory / kPartialManifestName), directory));
}

const SplitRecord& require_split(const Manifest& manifest, const fs::path& directory, const std::string& split) {
  if (const SplitRecord* const found = manifest.find_split(split)) return *found;
  throw MissingInputError(directory.string() + " has no " + split +
                          " split.\nMake it with: " + preprocess_command(manifest, directory) +
                          (split == kTrainSplit ? " --input FILE.txt" : " --validation FILE.txt") + " --force");
}

std::uint64_t fingerprint(const Manifest& manifest, const SplitRecord& split) {
  std::string content = manifest.vocabulary_sha256;
  for (const ShardRecord& shard : split.shards)
    content += "\n" + shard.name + " " + std::to_string(shard.tokens) + " " + shard.xxh3;
  return std::max<std::uint64_t>(base::xxh3(std::as_bytes(std::span(content))), 1);
}

TokenStore::TokenStore(const fs::path& directory, const std::string& split) {
  const Manifest manifest = open_manifest(directory);
  const SplitRecord& record = require_split(manifest, directory, split);
  vocabulary_ = {manifest.vocabulary_size, manifest.vocabulary_sha256};
  first_token_.push_back(0);
  first_story_.push_back(0);
  for (const ShardRecord& shard : record.shards) {
    shards_.emplace_back(directory, shard, vocabulary_);
    first_token_.push_back(first_token_.back() + shard.tokens);
    first_story_.push_back(first_story_.back() + shard.stories);
  }
}

TokenStore::TokenRange TokenStore::story(std::uint64_t story) const {
  if (story >= stories()) throw InternalError("story " + std::to_string(story) + " of " + std::to_string(stories()));
  const std::size_t shard = interval_of(first_story_, story);
  const auto offsets = shards_[shard].doc_offsets();
  const std::uint64_t local = story - first_story_[shard];
  return {first_token_[shard] + offsets[local], offsets[local + 1] - offsets[local]};
}

void TokenStore::read(std::uint64_t begin, std::span<std::int64_t> ids) {
  std::size_t shard = interval_of(first_token_, begin);
  while (!ids.empty()) {
    if (shard >= shards_.size()) throw InternalError("read past the last token");
    const std::uint64_t local = begin - first_token_[shard];
    const std::size_t count = std::min<std::uint64_t>(ids.size(), shards_[shard].tokens() - local);
    shards_[shard].read(local, ids.first(count));
    ids = ids.subspan(count);
    begin += count;
    ++shard;
  }
}

void TokenStore::verify() {
  for (ShardReader& shard : shards_) shard.verify();
}

}  // namespace kangpt::data
