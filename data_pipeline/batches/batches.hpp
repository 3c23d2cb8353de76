// Batches of training and validation samples from a data directory, as a pure function of the batch index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "data_pipeline/shards/manifest.hpp"
#include "training/batch_source.hpp"

namespace kangpt::data {

// What happens where an epoch's samples do not fill the last batch.
enum class Tail {
  kTrain,  // the batch goes on with the next epoch; in STORY mode with one source, a partial batch is dropped
  kMask,   // the missing rows are masked out, so that one epoch counts each sample exactly once: for evaluation
};

struct DataSource {
  fs::path directory;
  double weight = 1;  // of its samples in batches, relative to the other sources'
};

// T = sequence_length. In PACKED and PADDED mode a micro-batch has T columns, in STORY mode T - 1: the first T ids of a
// story are T - 1 inputs and their targets.
struct BatchOptions {
  std::vector<DataSource> sources;  // all of the same vocabulary; an epoch has as many samples as all of them together
  std::string split = kTrainSplit;
  config::DataMode mode = config::DataMode::kPacked;
  config::Shuffle shuffle = config::Shuffle::kSample;
  int sequence_length = 0;
  int batch_size = 0;
  int logical_shards = 1;
  std::uint64_t seed = 0;
  std::uint64_t vocabulary_size = 0;  // of the model; 0: not checked
  Tail tail = Tail::kTrain;
};

// Throws MissingInputError (no such data), DataError (damaged), ConfigError (vocabulary of another size, too few
// samples for one batch, batch_size not a multiple of logical_shards).
std::unique_ptr<training::BatchSource> open_batches(const BatchOptions& options);

// The samples in a batch, row by row: story numbers in STORY mode; in PACKED mode sample i begins at token i T. Those
// of the second source follow those of the first in number. Throws as open_batches() does; what it returns touches no
// file.
std::function<std::vector<std::uint64_t>(std::uint64_t batch)> samples_of_batches(const BatchOptions& options);

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
// Counts are sums over the sources. Throws as open_batches() does.
DatasetFacts dataset_facts(const std::vector<DataSource>& sources, const std::string& split = kTrainSplit);
DatasetFacts dataset_facts(const fs::path& directory, const std::string& split = kTrainSplit);

// True if every source has this split.
bool have_split(const std::vector<DataSource>& sources, const std::string& split);

}  // namespace kangpt::data
