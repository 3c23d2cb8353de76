#include "launcher/trained_network.hpp"

#include <filesystem>
#include <span>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "io/checkpoint.hpp"
#include "launcher/weights_exchange.hpp"
#include "model/parameter_layout.hpp"
#include "model/weight_file.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;

std::span<float> values_of(const at::Tensor& flat) {
  return {flat.data_ptr<float>(), static_cast<std::size_t>(flat.numel())};
}

config::RunConfig default_configuration_for(const config::ModelConfig& model) {
  config::RunConfig config = config::parse_configuration("").values;
  config.model = model;
  config.data.sequence_length = model.sequence_length;
  return config;
}

}  // namespace

TrainedNetwork::TrainedNetwork(const NetworkSource& source) {
  const fs::path path = source.path;
  if (!fs::exists(path)) {
    throw MissingInputError("there is no " + source.path +
                            "; valid: a run directory, a checkpoint folder or a .safetensors file, as kangpt_dist and "
                            "kangpt_checkpoint export make them");
  }
  const fs::path weights = fs::is_directory(path) ? path / kExportedWeights : path;
  if (fs::exists(weights)) {
    read_weights(weights.string(), source.config_file);
  } else if (source.config_file.empty()) {
    read_checkpoint(source.path);
  } else {
    throw UsageError("--config is for .safetensors files; the checkpoint " + source.path +
                     " has its own configuration");
  }
  config_.model.precision = config::Precision::kFp32;  // the same text and the same loss on every processor
  network_ = std::make_unique<model::Transformer>(config_.model, layout_, parameters_, at::Tensor());
}

void TrainedNetwork::read_checkpoint(const std::string& path) {
  const io::Checkpoint checkpoint = io::open_checkpoint(path);
  const io::CheckpointManifest& manifest = checkpoint.manifest();
  config_ =
      config::parse_configuration(manifest.configuration, "configuration in " + checkpoint.folder().string()).values;
  layout_ = model::parameter_layout(config_.model);
  if (layout_ != manifest.parameters) {
    throw CheckpointError(checkpoint.folder().string() +
                          ": its parameters are not those of the model in its configuration");
  }
  parameters_ = at::empty({static_cast<std::int64_t>(layout_.flat_size)}, at::kFloat);
  checkpoint.read(0, values_of(parameters_), {}, {});
  if (manifest.state.logical_shards != 0) logical_shards_ = static_cast<int>(manifest.state.logical_shards);
  origin_ = checkpoint.folder().string() + " (step " + std::to_string(manifest.state.step) + ")";
}

void TrainedNetwork::read_weights(const std::string& file, const std::string& config_file) {
  config_ = config_file.empty() ? default_configuration_for(model_of_weights(file))
                                : config::load_configuration(config_file, {}).values;
  check_weights(file, config_.model);
  layout_ = model::parameter_layout(config_.model);
  parameters_ = at::empty({static_cast<std::int64_t>(layout_.flat_size)}, at::kFloat);
  model::load_weights(file, layout_, values_of(parameters_));
  origin_ = file;
}

}  // namespace kangpt::launcher
