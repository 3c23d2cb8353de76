#include "tools/trained_network.hpp"

#include <filesystem>
#include <span>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "config/context_window.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/stated_network.hpp"
#include "model/parameters/weight_file.hpp"
#include "model/parameters/weight_source.hpp"

namespace kangpt::tools {
namespace {

std::span<float> values_of(const at::Tensor& flat) {
  return {flat.data_ptr<float>(), static_cast<std::size_t>(flat.numel())};
}

}  // namespace

TrainedNetwork::TrainedNetwork(const NetworkSource& source) {
  const model::WeightSource weights = model::find_weights(source.path);
  if (!weights.checkpoint && source.average)
    throw UsageError("--average is for checkpoints; " + source.path + " holds one set of weights");
  if (!weights.checkpoint) {
    read_weights(weights.safetensors.string(), source.config_file);
  } else if (source.config_file.empty()) {
    read_checkpoint(*weights.checkpoint, source.average ? io::Weights::kAverage : io::Weights::kTrained);
  } else {
    throw UsageError("--config is for .safetensors files; the checkpoint " + source.path +
                     " has its own configuration");
  }
  config_.model.precision = config::Precision::kFp32;  // the same text and the same loss on every processor
  network_ =
      std::make_unique<model::Transformer>(config_.model, layout_, model::FlatBuffers{parameters_, at::Tensor()});
}

int TrainedNetwork::window_tokens() const {
  return config::context_window_tokens(config_.data);
}

void TrainedNetwork::read_checkpoint(const io::Checkpoint& checkpoint, io::Weights which) {
  const io::CheckpointManifest& manifest = checkpoint.manifest();
  config_ =
      config::parse_configuration(manifest.configuration, "configuration in " + checkpoint.folder().string()).values;
  layout_ = model::parameter_layout(config_.model);
  if (layout_ != manifest.parameters) {
    throw CheckpointError(checkpoint.folder().string() +
                          ": its parameters are not those of the model in its configuration");
  }
  parameters_ = at::empty({static_cast<std::int64_t>(layout_.flat_size)}, at::kFloat);
  checkpoint.read_weights(which, values_of(parameters_));
  if (manifest.state.logical_shards != 0) logical_shards_ = static_cast<int>(manifest.state.logical_shards);
  const std::filesystem::path folder = std::filesystem::absolute(checkpoint.folder());
  folders_ = {folder, folder.parent_path().parent_path()};
  origin_ = checkpoint.folder().string() + " (" + (which == io::Weights::kAverage ? "average at " : "") + "step " +
            std::to_string(manifest.state.step) + ")";
}

void TrainedNetwork::read_weights(const std::string& file, const std::string& config_file) {
  config_ =
      config_file.empty() ? model::configuration_of_weights(file) : config::load_configuration(config_file, {}).values;
  if (config_.model.vocabulary_size == 0)
    config_.model.vocabulary_size = model::vocabulary_size_of({file, std::nullopt});
  folders_ = {std::filesystem::absolute(file).parent_path()};
  model::check_weights_of(config_.model, file);
  layout_ = model::parameter_layout(config_.model);
  parameters_ = at::empty({static_cast<std::int64_t>(layout_.flat_size)}, at::kFloat);
  model::load_weights(file, layout_, values_of(parameters_));
  origin_ = file;
}

}  // namespace kangpt::tools
