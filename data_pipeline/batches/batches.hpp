// Batches of training and validation samples from a data directory, as a pure function of the batch index.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "data_pipeline/batches/data_sources.hpp"
#include "training/batch_source.hpp"

namespace kangpt::data {

// What happens where an epoch's samples do not fill the last batch.
enum class Tail {
  kTrain,  // the batch goes on with the next epoch; in STORY mode with one source, a partial batch is dropped
  kMask,   // the missing rows are masked out, so that one epoch counts each sample exactly once: for evaluation
};

// T = sequence_length. In PACKED and PADDED mode a micro-batch has T columns, in STORY mode T - 1: the first T ids of a
// story are T - 1 inputs and their targets.
struct BatchOptions {
  std::vector<OpenedSource>
      sources;  // all of the same vocabulary; an epoch has as many samples as all of them together
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

// Opens the shards. Throws MissingInputError (no such split or shard), DataError (damaged), ConfigError (vocabulary of
// another size, too few samples for one batch, batch_size not a multiple of logical_shards).
std::unique_ptr<training::BatchSource> open_batches(const BatchOptions& options);

// The samples in a batch, row by row: story numbers in STORY mode; in PACKED mode sample i begins at token i T. Those
// of the second source follow those of the first in number. Throws as open_batches() does; what it returns touches no
// file.
std::function<std::vector<std::uint64_t>(std::uint64_t batch)> samples_of_batches(const BatchOptions& options);

}  // namespace kangpt::data
