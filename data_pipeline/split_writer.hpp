// Collects the encoded stories of one split and writes them as shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <string>

#include "data_pipeline/manifest.hpp"
#include "data_pipeline/shard_file.hpp"
#include "data_pipeline/story_encoder.hpp"

namespace kangpt::data {

struct SplitTarget {
  fs::path directory;
  std::string split;
  ShardVocabulary vocabulary;
  std::uint64_t shard_tokens = 0;
};

// A shard is full when the next story would take it past `shard_tokens`; stories are never divided. One full shard is
// written by a thread while the next one is filled.
class SplitWriter {
 public:
  explicit SplitWriter(SplitTarget target);
  SplitWriter(const SplitWriter&) = delete;
  SplitWriter& operator=(const SplitWriter&) = delete;
  ~SplitWriter() = default;

  void add(std::span<const std::uint32_t> tokens, const EncodedStory& story);
  // Writes what is left. The record of the whole split. Throws IoError.
  SplitRecord finish();

  std::uint64_t stories() const noexcept { return record_.stories; }
  std::uint64_t tokens() const noexcept { return record_.tokens; }

 private:
  void start_shard();
  void await_shard();

  SplitTarget target_;
  SplitRecord record_;
  std::uint64_t shards_started_ = 0;
  ShardBuffer buffer_;
  std::future<ShardRecord> writing_;
};

}  // namespace kangpt::data
