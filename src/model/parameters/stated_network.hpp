// Which network the weights in a file belong to, as the file says it.
#pragma once

#include <filesystem>
#include <string>

#include "config/run_config.hpp"

namespace kangpt::model {

// Metadata of an exported file, and a member of an exported folder's config.json: the configuration of its model with
// data.sequence_length and data.mode (all else at its defaults).
inline constexpr const char* kModelMetadata = "kangpt_model";

// The weights in a folder of `kangpt_checkpoint export --format huggingface`.
inline constexpr const char* kExportedWeights = "model.safetensors";

// The text of that metadata.
std::string stated_text(const config::RunConfig& config);

// The configuration that an exported file states. Throws DataError if it states none.
config::RunConfig configuration_of_weights(const std::filesystem::path& safetensors);

// What makes two networks differ: "model.layers is 4, not 2". Empty where nothing does, although fields that mean
// nothing to these networks may differ.
std::string network_difference(const config::ModelConfig& is, const config::ModelConfig& is_not);

// Throws MissingInputError, DataError or ConfigError where the weights in a file are not those of `model`: other names
// or shapes, or a file that says it holds another model (kModelMetadata) whose tensors look alike. Reads no values.
void check_weights_of(const config::ModelConfig& model, const std::filesystem::path& safetensors);

}  // namespace kangpt::model
