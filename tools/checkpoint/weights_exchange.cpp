#include "tools/checkpoint/weights_exchange.hpp"

#include <vector>

#include "base/error.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "io/safetensors.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/stated_network.hpp"
#include "model/parameters/weight_source.hpp"

namespace kangpt::tools {
namespace fs = std::filesystem;

config::RunConfig configuration_of(const io::Checkpoint& checkpoint) {
  return config::parse_configuration(checkpoint.manifest().configuration,
                                     "configuration in " + checkpoint.folder().filename().string())
      .values;
}

void export_safetensors(const io::Checkpoint& checkpoint, io::Weights which, const fs::path& file) {
  const base::ParameterTable& table = checkpoint.manifest().parameters;
  std::vector<float> flat(table.flat_size);
  checkpoint.read_weights(which, flat);
  std::vector<io::TensorToWrite> tensors;
  for (const base::ParameterEntry& entry : table.entries) {
    tensors.push_back({entry.name, entry.shape, std::span(flat).subspan(entry.offset, entry.size)});
  }
  const std::string model = model::stated_text(configuration_of(checkpoint));
  io::write_safetensors(file, tensors, {{"format", "pt"}, {model::kModelMetadata, model}});
}

fs::path import_weights(const fs::path& given, config::RunConfig config, const fs::path& checkpoints) {
  if (config.model.vocabulary_size == 0)
    config.model.vocabulary_size = model::vocabulary_size_of(model::find_weights(given));
  const fs::path source = model::check_first_weights(given, config.model);
  io::CheckpointManifest manifest;
  manifest.parameters = model::parameter_layout(config.model);
  manifest.flat_size = manifest.parameters.flat_size;
  manifest.configuration = config::to_text(config);
  const std::string version = base::version_text("kangpt_checkpoint");
  manifest.program_version = version.substr(0, version.find('\n'));
  manifest.state.seed = config.run.seed;
  manifest.state.batch_size = static_cast<std::uint64_t>(config.train.batch_size);
  std::vector<float> weights(manifest.flat_size);
  model::load_first_weights(source, manifest.parameters, weights);
  const std::vector<float> zeros(manifest.flat_size, 0.0F);
  const fs::path folder = io::begin_checkpoint(checkpoints, 0);
  try {
    manifest.files = {io::write_range(folder, {0, 1}, 0, {0, weights, zeros, zeros})};
    io::commit_checkpoint(folder, manifest);
  } catch (const Error&) {
    io::abandon_checkpoint(folder);
    throw;
  }
  return checkpoints / io::checkpoint_name(0);
}

}  // namespace kangpt::tools
