// A complete data directory and the tokens of one of its splits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data_pipeline/shards/manifest.hpp"
#include "data_pipeline/shards/shard_file.hpp"

namespace kangpt::data {

// The manifest of a directory that kangpt_preprocess finished. Throws MissingInputError with the command that makes the
// directory, or finishes it; DataError if the manifest is damaged.
Manifest open_manifest(const fs::path& directory);

// The record of a split. Throws MissingInputError with the command that adds it.
const SplitRecord& require_split(const Manifest& manifest, const fs::path& directory, const std::string& split);

// Identifies vocabulary and content of a split: equal exactly for equal tokens in equal shards. Never 0.
std::uint64_t fingerprint(const Manifest& manifest, const SplitRecord& split);

// Stories [first, end) of a split.
struct StorySlice {
  std::string split;
  std::uint64_t first = 0;
  std::uint64_t end = 0;

  std::uint64_t size() const noexcept { return end - first; }
};

// All shards of a split as one sequence of stories and of tokens. Move-only; one thread at a time.
class TokenStore {
 public:
  // Opens every shard and checks it against the manifest (sizes, counts, offsets; not yet the tokens).
  TokenStore(const Manifest& manifest, const fs::path& directory, const std::string& split);
  // Those stories alone, numbered from 0, and their tokens. REQUIRES: the split has them.
  TokenStore(const Manifest& manifest, const fs::path& directory, const StorySlice& slice);
  // The same for a directory whose manifest nobody has opened yet.
  TokenStore(const fs::path& directory, const std::string& split)
      : TokenStore(open_manifest(directory), directory, split) {}

  std::uint64_t tokens() const noexcept { return end_token_ - begin_token_; }
  std::uint64_t stories() const noexcept { return end_story_ - begin_story_; }
  std::uint64_t vocabulary_size() const noexcept { return vocabulary_.size; }

  struct TokenRange {
    std::uint64_t begin = 0;
    std::uint64_t size = 0;
  };
  // Where story `story` lies, its end-of-text token included.
  TokenRange story(std::uint64_t story) const;
  // Tokens from `begin` on, which have to lie inside. Throws DataError where they prove damaged.
  void read(std::uint64_t begin, std::span<std::int64_t> ids);
  // Checks the checksums of all blocks.
  void verify();

 private:
  // Counted over all shards.
  TokenRange range_of(std::uint64_t story) const;

  ShardVocabulary vocabulary_;
  std::vector<ShardReader> shards_;
  std::vector<std::uint64_t> first_token_;  // [shards + 1]
  std::vector<std::uint64_t> first_story_;  // [shards + 1]
  // What of them is seen.
  std::uint64_t begin_story_ = 0;
  std::uint64_t end_story_ = 0;
  std::uint64_t begin_token_ = 0;
  std::uint64_t end_token_ = 0;
};

}  // namespace kangpt::data
