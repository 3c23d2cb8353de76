#include "data_pipeline/inspect.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/format.hpp"
#include "data_pipeline/dataset.hpp"

namespace kangpt::data {
namespace {

void verify_shard(const fs::path& directory, const ShardRecord& record, const ShardVocabulary& vocabulary) {
  const fs::path path = directory / record.name;
  const std::string found = to_hexadecimal(base::xxh3_file(path));
  ShardReader reader(directory, record, vocabulary);
  reader.verify();
  if (found != record.xxh3) {
    throw DataError(path.string() + " differs from its XXH3 digest in the manifest, though its tokens are intact");
  }
}

}  // namespace

void verify_directory(const fs::path& directory) {
  const Manifest manifest = open_manifest(directory);
  const ShardVocabulary vocabulary{manifest.vocabulary_size, manifest.vocabulary_sha256};
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t bytes = 0;
  for (const SplitRecord& split : manifest.splits) {
    for (const ShardRecord& shard : split.shards) {
      try {
        verify_shard(directory, shard, vocabulary);
      } catch (const MissingInputError&) {
        throw DataError((directory / shard.name).string() + " is missing, though the manifest names it");
      }
      std::printf("%s: ok, %s stories, %s tokens\n", shard.name.c_str(), base::format_count(shard.stories).c_str(),
                  base::format_count(shard.tokens).c_str());
      bytes += shard.size_bytes;
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%s is intact: %s checked in %s\n", directory.c_str(),
              base::format_bytes(static_cast<double>(bytes)).c_str(), base::format_duration(seconds).c_str());
}

void show_directory(const fs::path& directory) {
  const Manifest manifest = open_manifest(directory);
  std::printf("%s\n  vocabulary: %s tokens, SHA-256 %s\n", directory.c_str(),
              base::format_count(manifest.vocabulary_size).c_str(), manifest.vocabulary_sha256.c_str());
  for (const SourceRecord& source : manifest.sources) {
    std::printf("  source: %s (%s), %s, SHA-256 %s\n", source.path.c_str(), source.split.c_str(),
                base::format_bytes(static_cast<double>(source.size_bytes)).c_str(), source.sha256.c_str());
  }
  for (const SplitRecord& split : manifest.splits) {
    std::printf(
        "  %s: %s stories, %s tokens in %zu shards, %.3f bytes a token, %s empty, %s duplicates, %s bytes replaced, "
        "fingerprint %016llx\n",
        split.name.c_str(), base::format_count(split.stories).c_str(), base::format_count(split.tokens).c_str(),
        split.shards.size(), split.bytes_per_token(), base::format_count(split.empty_stories).c_str(),
        base::format_count(split.duplicate_stories).c_str(), base::format_count(split.replaced_bytes).c_str(),
        static_cast<unsigned long long>(fingerprint(manifest, split)));
  }
}

std::string story_text(const fs::path& directory, const std::string& split, std::uint64_t story,
                       const Vocabulary& vocabulary) {
  if (open_manifest(directory).vocabulary_sha256 != vocabulary.sha256()) {
    throw DataError(directory.string() + " was made with another vocabulary file; name it with --vocabulary FILE");
  }
  TokenStore store(directory, split);
  if (story >= store.stories()) {
    throw UsageError("there is no story " + std::to_string(story) + ": the " + split + " split of " +
                     directory.string() + " has stories 0 to " + std::to_string(store.stories() - 1));
  }
  const TokenStore::TokenRange range = store.story(story);
  std::vector<std::int64_t> ids(range.size);
  store.read(range.begin, ids);
  ids.pop_back();
  return vocabulary.decode(ids);
}

}  // namespace kangpt::data
