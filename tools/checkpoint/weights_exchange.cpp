#include "tools/checkpoint/weights_exchange.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "config/context_window.hpp"
#include "io/safetensors.hpp"
#include "model/parameter_layout.hpp"
#include "model/stated_network.hpp"
#include "model/weight_source.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;

constexpr int kGpt2VocabularySize = 50257;
constexpr int kGpt2EndOfText = 50256;

config::RunConfig configuration_of(const io::Checkpoint& checkpoint) {
  return config::parse_configuration(checkpoint.manifest().configuration,
                                     "configuration in " + checkpoint.folder().filename().string())
      .values;
}

std::string mixer_name(config::Mixer mixer) {
  static const std::map<config::Mixer, std::string> kNames = {{config::Mixer::kAttention, "attention"},
                                                              {config::Mixer::kConvMod, "convmod"},
                                                              {config::Mixer::kConv, "conv"},
                                                              {config::Mixer::kDilatedConv, "dilated_conv"},
                                                              {config::Mixer::kSeparableConv, "separable_conv"},
                                                              {config::Mixer::kDeformableConv, "deformable_conv"}};
  return kNames.at(mixer);
}

std::string feed_forward_name(config::FeedForward feed_forward) {
  switch (feed_forward) {
    case config::FeedForward::kKan:
      return "kan";
    case config::FeedForward::kMlp:
      return "mlp";
    case config::FeedForward::kHybrid:
      return "hybrid";
  }
  throw InternalError("unknown feed-forward");
}

std::string mode_name(config::DataMode mode) {
  switch (mode) {
    case config::DataMode::kPacked:
      return "packed";
    case config::DataMode::kStory:
      return "story";
    case config::DataMode::kPadded:
      return "padded";
  }
  throw InternalError("unknown data mode");
}

// Names of the Hugging Face convention where it has one, else those of configs/run_config.proto. Rows of the position
// embedding beyond the context are untrained.
nlohmann::ordered_json architecture_json(const config::RunConfig& config) {
  const config::ModelConfig& model = config.model;
  const int context_tokens = config::context_window_tokens(config.data);
  nlohmann::ordered_json json = {{"architectures", {"KanGptForCausalLM"}},
                                 {"model_type", "kangpt"},
                                 {"torch_dtype", "float32"},
                                 {"vocab_size", model.vocabulary_size},
                                 {"max_position_embeddings", model.sequence_length},
                                 {"context_length", context_tokens},
                                 {"data_mode", mode_name(config.data.mode)},
                                 {"hidden_size", model.d_model},
                                 {"num_hidden_layers", model.layers},
                                 {"num_attention_heads", model.heads},
                                 {"head_dim", model.head_dim},
                                 {"mixer", mixer_name(model.mixer)},
                                 {"kernel_size", model.kernel_size},
                                 {"dilation", model.dilation},
                                 {"offset_groups", model.offset_groups},
                                 {"max_offset", model.max_offset},
                                 {"feed_forward", feed_forward_name(model.feed_forward)},
                                 {"kan_degree", model.kan_degree},
                                 {"intermediate_size", model.mlp_hidden},
                                 {"hidden_act", "gelu_pytorch_tanh"},
                                 {"layer_norm_eps", 1e-6},
                                 {"final_norm", model.final_norm},
                                 {"tie_word_embeddings", false}};
  json["max_length"] = context_tokens;
  json["do_sample"] = true;
  json["temperature"] = 0.8;
  json["top_k"] = 40;
  if (model.vocabulary_size != kGpt2VocabularySize) return json;
  json["bos_token_id"] = kGpt2EndOfText;
  json["eos_token_id"] = kGpt2EndOfText;
  return json;
}

}  // namespace

void export_safetensors(const io::Checkpoint& checkpoint, const fs::path& file) {
  const base::ParameterTable& table = checkpoint.manifest().parameters;
  std::vector<float> flat(table.flat_size);
  checkpoint.read(0, flat, {}, {});
  std::vector<io::TensorToWrite> tensors;
  for (const base::ParameterEntry& entry : table.entries) {
    tensors.push_back({entry.name, entry.shape, std::span(flat).subspan(entry.offset, entry.size)});
  }
  const std::string model = model::stated_text(configuration_of(checkpoint));
  io::write_safetensors(file, tensors, {{"format", "pt"}, {model::kModelMetadata, model}});
}

void export_huggingface(const io::Checkpoint& checkpoint, const fs::path& folder) {
  base::make_directories(folder);
  export_safetensors(checkpoint, folder / model::kExportedWeights);
  const std::string json = architecture_json(configuration_of(checkpoint)).dump(2) + "\n";
  base::write_file_atomically(folder / "config.json", json);
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
