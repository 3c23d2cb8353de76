#include "model/parameters/weight_source.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "io/checkpoint_manifest.hpp"
#include "io/safetensors.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/stated_network.hpp"
#include "model/parameters/weight_file.hpp"

namespace kangpt::model {
namespace {

namespace fs = std::filesystem;

// Where there is no checkpoint in `folder`, the weights may have another name than those of an export.
std::string safetensors_in(const fs::path& folder) {
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    if (entry->path().extension() == ".safetensors") return entry->path().string();
  }
  return "";
}

io::Checkpoint checkpoint_at(const fs::path& folder) {
  try {
    return io::open_checkpoint(folder);
  } catch (const MissingInputError& error) {
    const std::string file = safetensors_in(folder);
    throw MissingInputError(error.what() + (file.empty() ? "" : ". Did you mean " + file + "?"));
  }
}

}  // namespace

WeightSource find_weights(const fs::path& path) {
  if (path.empty())
    throw UsageError(
        "the place of the weights is an empty text; valid: a run directory, a checkpoint "
        "folder or a .safetensors file");
  if (!fs::exists(path)) {
    throw MissingInputError("there is no " + path.string() +
                            "; valid: a run directory, a checkpoint folder or a .safetensors file, as kangpt_dist and "
                            "kangpt_checkpoint export make them");
  }
  if (fs::is_directory(path)) {
    if (fs::exists(path / kExportedWeights)) return {path / kExportedWeights, std::nullopt};
    return {{}, checkpoint_at(path)};
  }
  const fs::path folder = fs::absolute(path).parent_path();
  if (path.extension() != ".safetensors" && folder.filename().string().starts_with("step-") &&
      fs::exists(folder / io::kManifestName)) {
    throw MissingInputError(path.string() + " is a file of a checkpoint; name its folder: " + folder.string());
  }
  return {path, std::nullopt};
}

int vocabulary_size_of(const WeightSource& source) {
  constexpr std::string_view kEmbedding = "token_embedding.weight";
  std::vector<std::int64_t> shape = {0};
  if (source.checkpoint) {
    for (const base::ParameterEntry& entry : source.checkpoint->manifest().parameters.entries)
      if (entry.name == kEmbedding) shape = entry.shape;
  } else {
    const io::SafetensorsFile file(source.safetensors);
    for (const auto& [name, tensor] : file.tensors())
      if (name.ends_with(kEmbedding) && !tensor.shape.empty()) shape = tensor.shape;
  }
  constexpr std::int64_t kMost = 1 << 22;
  return static_cast<int>(std::clamp<std::int64_t>(shape[0], 0, kMost));
}

std::string difference_from(const config::ModelConfig& model, const io::Checkpoint& checkpoint) {
  const std::string origin = "configuration in " + checkpoint.folder().string();
  const config::RunConfig theirs = config::parse_configuration(checkpoint.manifest().configuration, origin).values;
  if (checkpoint.manifest().parameters != parameter_layout(theirs.model))
    throw CheckpointError(checkpoint.folder().string() +
                          ": its parameters are not those of the model in its configuration");
  return network_difference(model, theirs.model);
}

fs::path check_first_weights(const fs::path& path, const config::ModelConfig& model) {
  const WeightSource source = find_weights(path);
  if (!source.checkpoint) {
    check_weights_of(model, source.safetensors);
    return source.path();
  }
  const std::string difference = difference_from(model, *source.checkpoint);
  if (difference.empty()) return source.path();
  throw ConfigError(source.path().string() + " holds the weights of another network: " + difference +
                    " as there. Set the fields of model {} to those of that run.");
}

void load_first_weights(const fs::path& path, const base::ParameterTable& table, std::span<float> flat) {
  const WeightSource source = find_weights(path);
  if (!source.checkpoint) return load_weights(source.safetensors, table, flat);
  if (source.checkpoint->manifest().parameters != table)
    throw ConfigError(source.path().string() + " holds the weights of another network");
  source.checkpoint->read(0, flat, {}, {});
}

}  // namespace kangpt::model
