// Weights out of checkpoints into safetensors files, and back.
#pragma once

#include <filesystem>

#include "config/run_config.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::tools {

// Of the run that wrote it.
config::RunConfig configuration_of(const io::Checkpoint& checkpoint);

// The parameters or their average, under the names of the parameter table. The bytes depend on weights and model only.
// Throws IoError, CheckpointError; UsageError where there is no average.
void export_safetensors(const io::Checkpoint& checkpoint, io::Weights which, const std::filesystem::path& file);

// Writes CHECKPOINTS/step-0000000000 with the weights at `given` (see find_weights()) and moments of zero. Returns that
// folder. Logical shards, threads and the data's fingerprint are 0 in it: undecided, until a run starts from it. Throws
// DataError or ConfigError where the weights are not those of `config`.
std::filesystem::path import_weights(const std::filesystem::path& given, config::RunConfig config,
                                     const std::filesystem::path& checkpoints);

}  // namespace kangpt::tools
