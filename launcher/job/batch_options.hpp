// Where a configuration's data lie, and which batches of a split it asks for.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "data_pipeline/batches/batches.hpp"

namespace kangpt::launcher {

// data.source, or data.directory where there is none.
inline std::vector<data::DataSource> data_sources(const config::DataSection& section) {
  std::vector<data::DataSource> sources;
  for (const config::DataSource& source : section.sources) sources.push_back({source.directory, source.weight});
  if (sources.empty()) sources.push_back({section.directory, 1});
  return sources;
}

// The same for messages: "data/a, data/b".
inline std::string data_directories(const config::DataSection& section) {
  std::string text;
  for (const data::DataSource& source : data_sources(section)) {
    text += (text.empty() ? "" : ", ") + source.directory.string();
  }
  return text;
}

// Training data as training sees them; any other split in file order, each sample once.
inline data::BatchOptions batch_options(const config::RunConfig& config, int logical_shards, const std::string& split) {
  const bool trains = split == data::kTrainSplit;
  return {.sources = data_sources(config.data),
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
