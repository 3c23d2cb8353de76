#include "data_pipeline/preprocess/split_writer.hpp"

#include <algorithm>
#include <utility>

namespace kangpt::data {
namespace {

constexpr std::uint64_t kMostReservedTokens = std::uint64_t{64} << 20;

}  // namespace

SplitWriter::SplitWriter(SplitTarget target, SplitRecord written)
    : target_(std::move(target)), record_(std::move(written)), filling_(target_.vocabulary), full_(target_.vocabulary) {
  on_disk_.shards = std::exchange(record_.shards, {});
  filling_.reserve(std::min(target_.shard_tokens, kMostReservedTokens));
}

void SplitWriter::add(std::span<const std::uint32_t> tokens, const EncodedStory& story, const ResumePoint& where) {
  if (tokens.empty()) {
    if (story.odd.skipped_records == 0) ++record_.empty_stories;
    return count(story);
  }
  if (filling_.stories() > 0 && filling_.tokens() + tokens.size() > target_.shard_tokens) start_shard(where);
  filling_.append_story(tokens);
  count(story);
  ++record_.stories;
  record_.tokens += tokens.size();
  record_.text_bytes += story.text_bytes;
}

void SplitWriter::count_duplicate(const EncodedStory& story) {
  ++record_.duplicate_stories;
  count(story);
}

void SplitWriter::count(const EncodedStory& story) {
  record_.replaced_bytes += story.replaced_bytes;
  record_.odd += story.odd;
}

void SplitWriter::start_shard(const ResumePoint& next) {
  await_shard();
  std::vector<ShardRecord> shards = std::move(on_disk_.shards);
  on_disk_ = record_;
  on_disk_.shards = std::move(shards);
  resume_at_start_ = next;
  const std::string name = shard_name(record_.name, on_disk_.shards.size());
  std::swap(filling_, full_);
  filling_.clear();
  filling_.reserve(std::min(target_.shard_tokens, kMostReservedTokens));
  writing_ = std::async(std::launch::async, [this, name] { return full_.write(target_.directory, name); });
}

void SplitWriter::await_shard() {
  if (!writing_.valid()) return;
  on_disk_.shards.push_back(writing_.get());
  target_.on_shard(on_disk_, resume_at_start_);
}

SplitRecord SplitWriter::finish() {
  await_shard();
  record_.shards = std::move(on_disk_.shards);
  if (filling_.stories() > 0)
    record_.shards.push_back(filling_.write(target_.directory, shard_name(record_.name, record_.shards.size())));
  return record_;
}

}  // namespace kangpt::data
