// Collects the encoded stories of one split and writes them as shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <span>
#include <string>

#include "data_pipeline/preprocess/block_encoder.hpp"
#include "data_pipeline/shards/manifest.hpp"
#include "data_pipeline/shards/shard_file.hpp"

namespace kangpt::data {

struct SplitTarget {
  fs::path directory;
  ShardVocabulary vocabulary;
  std::uint64_t shard_tokens = 0;
  // Called when a shard is on disk: the record of the split up to it, and the first story after it.
  std::function<void(const SplitRecord&, const ResumePoint&)> on_shard;
};

// A shard is full when the next story would take it past `shard_tokens`; stories are never divided. One full shard is
// written by a thread while the next one is filled.
class SplitWriter {
 public:
  // Goes on after the shards of `written`, which has a name but no shards in a new run.
  SplitWriter(SplitTarget target, SplitRecord written);
  SplitWriter(const SplitWriter&) = delete;
  SplitWriter& operator=(const SplitWriter&) = delete;
  ~SplitWriter() = default;

  // `where` is the story's own place; without tokens it is empty, or a record that was skipped. Throws IoError.
  void add(std::span<const std::uint32_t> tokens, const EncodedStory& story, const ResumePoint& where);
  void count_duplicate(const EncodedStory& story);
  // Writes what is left. The record of the whole split. Throws IoError.
  SplitRecord finish();

  std::uint64_t stories() const noexcept { return record_.stories; }
  std::uint64_t tokens() const noexcept { return record_.tokens; }

 private:
  void count(const EncodedStory& story);
  void start_shard(const ResumePoint& next);
  void await_shard();

  SplitTarget target_;
  SplitRecord record_;  // of all stories so far, without shards
  ShardBuffer filling_;
  ShardBuffer full_;                  // while `writing_` is under way
  std::future<ShardRecord> writing_;  // after the buffers: it reads one of them
  SplitRecord on_disk_;               // the shards on disk, and record_ as it was when `writing_` began,
  ResumePoint resume_at_start_;       // and the first story after it
};

}  // namespace kangpt::data
