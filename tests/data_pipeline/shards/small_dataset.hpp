// A small data directory with known tokens, for tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/file.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/shards/shard_file.hpp"

namespace kangpt::test {

using Stories = std::vector<std::vector<std::uint32_t>>;

inline constexpr std::uint64_t kSmallVocabulary = 50257;

// `count` stories of 3 to 40 tokens, the last one 50256. Token j of story i is a number that occurs nowhere else while
// there are less than 50,000 of them.
inline Stories numbered_stories(std::size_t count) {
  Stories stories;
  std::uint32_t next = 0;
  for (std::size_t story = 0; story < count; ++story) {
    std::vector<std::uint32_t> tokens;
    for (std::size_t i = 0; i < 2 + story * 7 % 38; ++i) tokens.push_back(next++ % 50256);
    tokens.push_back(50256);
    stories.push_back(tokens);
  }
  return stories;
}

// Writes the stories as the train split, `stories_per_shard` in each shard.
inline data::Manifest write_dataset(const std::filesystem::path& folder, const Stories& stories,
                                    std::size_t stories_per_shard) {
  data::Manifest manifest;
  manifest.vocabulary_size = kSmallVocabulary;
  manifest.vocabulary_sha256 = "test";
  manifest.sources = {{"stories.txt", data::kTrainSplit, 1, "0"}};
  data::SplitRecord split;
  split.name = data::kTrainSplit;
  for (std::size_t begin = 0; begin < stories.size(); begin += stories_per_shard) {
    data::ShardBuffer buffer({kSmallVocabulary, "test", kSmallVocabulary - 1});
    for (std::size_t i = begin; i < std::min(begin + stories_per_shard, stories.size()); ++i)
      buffer.append_story(stories[i]);
    split.shards.push_back(buffer.write(folder, "train-0000" + std::to_string(split.shards.size()) + ".h5"));
    split.stories += buffer.stories();
    split.tokens += buffer.tokens();
  }
  manifest.splits = {split};
  base::write_file_atomically(folder / data::kManifestName, to_text(manifest));
  return manifest;
}

}  // namespace kangpt::test
