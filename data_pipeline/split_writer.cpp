#include "data_pipeline/split_writer.hpp"

#include <array>
#include <cstdio>
#include <utility>

namespace kangpt::data {
namespace {

std::string shard_name(const std::string& split, std::uint64_t index) {
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "-%05llu.h5", static_cast<unsigned long long>(index));
  return split + number.data();
}

}  // namespace

SplitWriter::SplitWriter(SplitTarget target) : target_(std::move(target)), buffer_(target_.vocabulary) {
  record_.name = target_.split;
}

void SplitWriter::add(std::span<const std::uint32_t> tokens, const EncodedStory& story) {
  record_.replaced_bytes += story.replaced_bytes;
  if (tokens.empty()) {
    ++record_.empty_stories;
    return;
  }
  if (buffer_.stories() > 0 && buffer_.tokens() + tokens.size() > target_.shard_tokens) start_shard();
  buffer_.append_story(tokens);
  ++record_.stories;
  record_.tokens += tokens.size();
  record_.text_bytes += story.text_bytes;
}

void SplitWriter::start_shard() {
  await_shard();
  ShardBuffer full = std::exchange(buffer_, ShardBuffer(target_.vocabulary));
  const std::string name = shard_name(target_.split, shards_started_++);
  writing_ = std::async(std::launch::async, [full = std::move(full), folder = target_.directory, name] {
    return full.write(folder, name);
  });
}

void SplitWriter::await_shard() {
  if (writing_.valid()) record_.shards.push_back(writing_.get());
}

SplitRecord SplitWriter::finish() {
  if (buffer_.stories() > 0) start_shard();
  await_shard();
  return record_;
}

}  // namespace kangpt::data
