// Weights out of checkpoints into safetensors files, and back.
#pragma once

#include <filesystem>

#include "config/run_config.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::launcher {

// Metadata of an exported file: the configuration of its model with data.sequence_length and data.mode (all else at its
// defaults).
inline constexpr const char* kModelMetadata = "kangpt_model";

// The weights in a folder that export_huggingface() made.
inline constexpr const char* kExportedWeights = "model.safetensors";

// The parameters alone, under the names of the parameter table. The bytes depend on weights and model only. Throws
// IoError, CheckpointError.
void export_safetensors(const io::Checkpoint& checkpoint, const std::filesystem::path& file);

// FOLDER/model.safetensors and FOLDER/config.json (fields of this architecture, hints for generation). The folder is
// made.
void export_huggingface(const io::Checkpoint& checkpoint, const std::filesystem::path& folder);

// The configuration that an exported file states. Throws DataError if it states none.
config::RunConfig configuration_of_weights(const std::filesystem::path& safetensors);

// What makes two networks differ: "model.layers is 4, not 2". Empty where nothing does, although fields that mean
// nothing to these networks may differ.
std::string network_difference(const config::ModelConfig& is, const config::ModelConfig& is_not);

// Throws MissingInputError, DataError or ConfigError where the weights in a file are not those of `model`: other names
// or shapes, or a file that says it holds another model (kModelMetadata) whose tensors look alike. Reads no values.
void check_weights(const std::filesystem::path& safetensors, const config::ModelConfig& model);

// Writes CHECKPOINTS/step-0000000000 with the weights at `given` (see find_weights()) and moments of zero. Returns that
// folder. Logical shards, threads and the data's fingerprint are 0 in it: undecided, until a run starts from it. Throws
// DataError or ConfigError where the weights are not those of `config`.
std::filesystem::path import_weights(const std::filesystem::path& given, const config::RunConfig& config,
                                     const std::filesystem::path& checkpoints);

}  // namespace kangpt::launcher
