// Which batches of a split a configuration asks for.
#pragma once

#include <string>

#include "config/run_config.hpp"
#include "data_pipeline/batches.hpp"

namespace kangpt::launcher {

// Training data as training sees them; any other split in file order, each sample once.
inline data::BatchOptions batch_options(const config::RunConfig& config, int logical_shards, const std::string& split) {
  const bool trains = split == data::kTrainSplit;
  return {.directory = config.data.directory,
          .split = split,
          .mode = config.data.mode,
          .shuffle = trains ? config.data.shuffle : config::Shuffle::kNone,
          .sequence_length = config.data.sequence_length,
          .batch_size = config.train.batch_size,
          .logical_shards = logical_shards,
          .seed = config.run.seed,
          .vocabulary_size = static_cast<std::uint64_t>(config.model.vocabulary_size),
          .tail = trains ? data::Tail::kTrain : data::Tail::kMask};
}

}  // namespace kangpt::launcher
