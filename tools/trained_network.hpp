// A network with trained weights, from wherever a user keeps them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"
#include "io/checkpoint.hpp"
#include "model/transformer.hpp"

namespace kangpt::tools {

struct NetworkSource {
  std::string path;         // what find_weights() takes
  std::string config_file;  // of a .safetensors file that does not say which model it holds; else empty
  bool average = false;     // of the weights in a checkpoint, instead of these
};

// Owns network and weights, on the CPU, in fp32. Not thread-safe.
class TrainedNetwork {
 public:
  // Reads and verifies; moves and changes nothing on disk. Throws MissingInputError, CheckpointError or DataError
  // (damaged), ConfigError (weights of another model), UsageError (a configuration for a checkpoint, which has its
  // own; an average that is not there).
  explicit TrainedNetwork(const NetworkSource& source);
  TrainedNetwork(const TrainedNetwork&) = delete;
  TrainedNetwork& operator=(const TrainedNetwork&) = delete;

  // Of the run; of a .safetensors file without --config the defaults around its model and mode.
  const config::RunConfig& config() const noexcept { return config_; }
  const model::Transformer& network() const noexcept { return *network_; }
  // How many tokens it may see at once: as many as it was trained with.
  int window_tokens() const;
  // Of the run, or 1 where none has settled it.
  int logical_shards() const noexcept { return logical_shards_; }
  // The file or folder the weights came from, with the step where it has one.
  const std::string& origin() const noexcept { return origin_; }
  // Where what belongs to the weights lies, such as their vocabulary: beside them, or in their run's directory.
  const std::vector<std::filesystem::path>& folders() const noexcept { return folders_; }

 private:
  void read_checkpoint(const io::Checkpoint& checkpoint, io::Weights which);
  void read_weights(const std::string& file, const std::string& config_file);

  config::RunConfig config_;
  base::ParameterTable layout_;
  at::Tensor parameters_;  // [flat_size]
  int logical_shards_ = 1;
  std::string origin_;
  std::vector<std::filesystem::path> folders_;
  std::unique_ptr<model::Transformer> network_;
};

}  // namespace kangpt::tools
