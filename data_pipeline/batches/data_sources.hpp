// The data directories that batches come from, each opened once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/shards/manifest.hpp"

namespace kangpt::data {

struct DataSource {
  fs::path directory;
  double weight = 1;  // of its samples in batches, relative to the other sources'
  // Where it has no validation split: the share of its stories, the last ones, that make one.
  double holdout = 0;
};

// A source with what its manifest says. The manifest is read here and nowhere behind: whoever wants to know of the data
// is handed this, so that a start sees one state of them, and asks a slow file system once.
struct OpenedSource : DataSource {
  // Throws as open_manifest() does.
  explicit OpenedSource(DataSource source);

  // Whether it has that split, or makes one of its training stories.
  bool has(const std::string& split) const noexcept;
  // Stories of that split. Throws MissingInputError where there are none.
  StorySlice stories_of(const std::string& split) const;

  Manifest manifest;

 private:
  bool holds_out() const noexcept;
};

// Throws ConfigError where there is none, or one has no positive weight; otherwise as open_manifest() does.
std::vector<OpenedSource> open_sources(const std::vector<DataSource>& sources);

// For messages: "data/a, data/b".
std::string directories(const std::vector<OpenedSource>& sources);

// True if every source has this split, or makes one.
bool have_split(const std::vector<OpenedSource>& sources, const std::string& split);

// Facts about the data, without opening a shard.
struct DatasetFacts {
  std::uint64_t fingerprint = 0;
  std::uint64_t vocabulary_size = 0;
  std::string vocabulary_sha256;
  std::uint64_t stories = 0;
  std::uint64_t tokens = 0;  // end-of-text tokens included
  std::uint64_t text_bytes = 0;
  double bytes_per_token = 0;
};
// Counts are sums over the sources. Throws MissingInputError where one lacks the split, ConfigError where they are not
// of the same vocabulary.
DatasetFacts dataset_facts(const std::vector<OpenedSource>& sources, const std::string& split = kTrainSplit);
DatasetFacts dataset_facts(const OpenedSource& source, const std::string& split = kTrainSplit);
// Of a directory that nothing else is asked of.
DatasetFacts dataset_facts(const fs::path& directory, const std::string& split = kTrainSplit);

}  // namespace kangpt::data
