// Weights, wherever a user keeps them: a file, a folder of an export, a checkpoint, a run directory.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::model {

// One of the two.
struct WeightSource {
  std::filesystem::path safetensors;
  std::optional<io::Checkpoint> checkpoint;

  // The file, or the checkpoint's folder.
  std::filesystem::path path() const { return checkpoint ? checkpoint->folder() : safetensors; }
};

// What lies at `path`: a .safetensors file, the folder of `kangpt_checkpoint export --format huggingface`, a checkpoint
// folder, or a run directory (its newest valid checkpoint). Throws MissingInputError or CheckpointError that says what
// is valid.
WeightSource find_weights(const std::filesystem::path& path);

// How many tokens the network of these weights knows, for a configuration whose model.vocabulary_size is 0.
int vocabulary_size_of(const WeightSource& source);

// How `model` differs from the network of a checkpoint, as network_difference() says it. Throws CheckpointError where
// the checkpoint contradicts itself.
std::string difference_from(const config::ModelConfig& model, const io::Checkpoint& checkpoint);

// Throws ConfigError, or what find_weights() throws, where the weights at `path` can't be the first ones of `model`.
// Returns the one file or checkpoint folder that they are in.
std::filesystem::path check_first_weights(const std::filesystem::path& path, const config::ModelConfig& model);

// Fills `flat` with them; its gaps become 0.
void load_first_weights(const std::filesystem::path& path, const base::ParameterTable& table, std::span<float> flat);

}  // namespace kangpt::model
