#include "model/parameters/stated_network.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"
#include "config/configuration.hpp"
#include "config/field_changes.hpp"
#include "io/safetensors.hpp"
#include "model/parameters/parameter_layout.hpp"
#include "model/parameters/weight_file.hpp"

namespace kangpt::model {
namespace {

namespace fs = std::filesystem;

std::optional<config::RunConfig> parsed(const std::string& text, const fs::path& file) {
  return config::parse_configuration(text, "configuration in " + file.string()).values;
}

// What the config.json of an exported folder says. Python's save_pretrained() writes the weights without metadata, but
// keeps what it does not know in there.
std::optional<config::RunConfig> configuration_beside(const fs::path& safetensors) {
  const fs::path file = safetensors.parent_path() / "config.json";
  if (safetensors.filename() != kExportedWeights || !fs::exists(file)) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(base::read_file(file), nullptr, false);
  if (json.is_discarded()) throw DataError(file.string() + " is no JSON; the folder is damaged: export it again");
  const auto text = json.is_object() ? json.find(kModelMetadata) : json.end();
  if (text == json.end() || !text->is_string()) return std::nullopt;
  return parsed(text->get<std::string>(), file);
}

// What a file says in kModelMetadata, or the folder that it lies in; none where they say nothing.
std::optional<config::RunConfig> stated_configuration(const fs::path& safetensors) {
  const io::SafetensorsFile file(safetensors);
  const auto text = file.metadata().find(kModelMetadata);
  return text == file.metadata().end() ? configuration_beside(safetensors) : parsed(text->second, safetensors);
}

}  // namespace

std::string stated_text(const config::RunConfig& config) {
  config::RunConfig model_only = config::parse_configuration("").values;
  model_only.model = config.model;
  model_only.model.initial_weights.clear();
  model_only.model.dropout = 0;
  model_only.data.sequence_length = config.data.sequence_length;
  model_only.data.mode = config.data.mode;
  return config::to_text(model_only);
}

config::RunConfig configuration_of_weights(const fs::path& safetensors) {
  if (std::optional<config::RunConfig> stated = stated_configuration(safetensors)) return *std::move(stated);
  throw DataError(
      safetensors.string() + " does not say which model it holds (no metadata '" + std::string(kModelMetadata) +
      "'). Name the configuration of its run with --config FILE, or make a checkpoint of it: kangpt_checkpoint import "
      "--weights FILE --config FILE --output PATH");
}

std::string network_difference(const config::ModelConfig& is, const config::ModelConfig& is_not) {
  if (parameter_layout(is) == parameter_layout(is_not)) return hidden_difference(is, is_not);
  return config::differing_network_fields(is, is_not);
}

void check_weights_of(const config::ModelConfig& model, const fs::path& safetensors) {
  if (const std::optional<config::RunConfig> stated = stated_configuration(safetensors)) {
    const std::string difference = network_difference(model, stated->model);
    if (!difference.empty()) {
      throw ConfigError(safetensors.string() + " holds the weights of another network: " + difference +
                        " as it says. Set the fields of model {} to those that the file was made with.");
    }
  }
  check_weights(safetensors, parameter_layout(model));
}

}  // namespace kangpt::model
