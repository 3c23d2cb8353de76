// The data that a configuration names, and which batches of a split it asks for.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/run_config.hpp"
#include "data_pipeline/batches/batches.hpp"

namespace kangpt::launcher {

// data.source, or data.directory where there is none. Throws as data::open_sources() does.
inline std::vector<data::OpenedSource> open_data(const config::DataSection& section) {
  std::vector<data::DataSource> sources;
  for (const config::DataSource& source : section.sources)
    sources.push_back({source.directory, source.weight, section.holdout});
  if (sources.empty()) sources.push_back({section.directory, 1, section.holdout});
  return data::open_sources(sources);
}

// Training data as training sees them; any other split in file order, each sample once.
inline data::BatchOptions batch_options(const config::RunConfig& config, std::vector<data::OpenedSource> sources,
                                        int logical_shards, const std::string& split) {
  const bool trains = split == data::kTrainSplit;
  return {.sources = std::move(sources),
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
// For who opens the data for this alone.
inline data::BatchOptions batch_options(const config::RunConfig& config, int logical_shards, const std::string& split) {
  return batch_options(config, open_data(config.data), logical_shards, split);
}

}  // namespace kangpt::launcher
