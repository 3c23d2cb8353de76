// A complete data directory and the tokens of one of its splits.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
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

// All shards of a split as one sequence of stories and of tokens. A shard is opened when something of it is wanted, and
// then checked against the manifest (counts, offsets; tokens when they are read): any of the functions below may throw
// DataError. Move-only; one thread at a time.
class TokenStore {
 public:
  // Looks at the size of every shard.
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
  TokenRange story(std::uint64_t story);
  // Every story in order; shards that this opens are closed again.
  void for_each_story(const std::function<void(const TokenRange&)>& use);
  // Tokens from `begin` on, which have to lie inside.
  void read(std::uint64_t begin, std::span<std::int64_t> ids);
  // Has the system read these tokens from the disk in the background, as far as they lie inside.
  void read_ahead(TokenRange range);
  // Checks the checksums of all blocks.
  void verify();

 private:
  // Counted over all shards.
  TokenRange range_of(std::uint64_t story);
  ShardReader& shard(std::size_t index);

  ShardVocabulary vocabulary_;
  std::vector<ShardReader> shards_;
  std::deque<std::size_t> open_;            // shards, the one opened first in front
  std::vector<std::uint64_t> first_token_;  // [shards + 1]
  std::vector<std::uint64_t> first_story_;  // [shards + 1]
  // What of them is seen.
  std::uint64_t begin_story_ = 0;
  std::uint64_t end_story_ = 0;
  std::uint64_t begin_token_ = 0;
  std::uint64_t end_token_ = 0;
};

}  // namespace kangpt::data
