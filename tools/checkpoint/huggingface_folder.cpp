#include "tools/checkpoint/huggingface_folder.hpp"

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "config/configuration.hpp"
#include "config/context_window.hpp"
#include "config/layers.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"
#include "model/parameters/stated_network.hpp"
#include "tools/checkpoint/model_card.hpp"
#include "tools/checkpoint/weights_exchange.hpp"

namespace kangpt::tools {

// The .py files of tools/checkpoint/huggingface, named by them (cmake/embed.cmake).
// NOLINTBEGIN(readability-identifier-naming)
extern const unsigned char configuration_kangpt[];
extern const std::size_t configuration_kangpt_bytes;
extern const unsigned char modeling_kangpt[];
extern const std::size_t modeling_kangpt_bytes;
// NOLINTEND(readability-identifier-naming)

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

std::string mixer_name(config::Mixer mixer) {
  static const std::map<config::Mixer, std::string> names = {{config::Mixer::kAttention, "attention"},
                                                             {config::Mixer::kConvMod, "convmod"},
                                                             {config::Mixer::kConv, "conv"},
                                                             {config::Mixer::kDilatedConv, "dilated_conv"},
                                                             {config::Mixer::kSeparableConv, "separable_conv"},
                                                             {config::Mixer::kDeformableConv, "deformable_conv"}};
  return names.at(mixer);
}

// A name, or a list where layers differ.
ordered_json mixers_json(const config::ModelConfig& model) {
  std::vector<std::string> names;
  for (const config::Mixer mixer : model.mixers) names.push_back(mixer_name(mixer));
  return names.size() == 1 ? ordered_json(names.front()) : ordered_json(names);
}

std::string feed_forward_name(config::FeedForward feed_forward) {
  switch (feed_forward) {
    case config::FeedForward::kKan:
      return "kan";
    case config::FeedForward::kMlp:
      return "mlp";
    case config::FeedForward::kHybrid:
      return "hybrid";
    case config::FeedForward::kSwiglu:
      return "swiglu";
    case config::FeedForward::kGroupedKan:
      return "grouped_kan";
    case config::FeedForward::kRationalKan:
      return "rational_kan";
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
ordered_json architecture_json(const config::RunConfig& config) {
  const config::ModelConfig& model = config.model;
  return {{"architectures", {"KanGptForCausalLM"}},
          {"auto_map",
           {{"AutoConfig", "configuration_kangpt.KanGptConfig"},
            {"AutoModelForCausalLM", "modeling_kangpt.KanGptForCausalLM"}}},
          {"model_type", "kangpt"},
          {"torch_dtype", "float32"},
          {"vocab_size", model.vocabulary_size},
          {"max_position_embeddings", model.sequence_length},
          {"context_length", config::context_window_tokens(config.data)},
          {"data_mode", mode_name(config.data.mode)},
          {"hidden_size", model.d_model},
          {"num_hidden_layers", model.layers},
          {"num_attention_heads", model.heads},
          {"head_dim", model.head_dim},
          {"mixer", mixers_json(model)},
          {"kernel_size", model.kernel_size},
          {"dilation", model.dilation},
          {"offset_groups", model.offset_groups},
          {"max_offset", model.max_offset},
          {"feed_forward", feed_forward_name(model.feed_forward)},
          {"kan_degree", model.kan_degree},
          {"kan_groups", config::function_groups(model)},
          {"intermediate_size", model.mlp_hidden},
          {"hidden_act", "gelu_pytorch_tanh"},
          {"layer_norm_eps", 1e-6},
          {"final_norm", model.final_norm},
          {"tie_word_embeddings", false},
          {"use_cache", false},
          {model::kModelMetadata, model::stated_text(config)}};
}

void add_end_of_text(const data::Vocabulary& vocabulary, ordered_json& json) {
  json["bos_token_id"] = vocabulary.end_of_text();
  json["eos_token_id"] = vocabulary.end_of_text();
}

// As kangpt_generate does where it is told nothing.
ordered_json generation_json(const data::Vocabulary* vocabulary) {
  ordered_json json = {
      {"do_sample", true}, {"temperature", 0.8}, {"top_k", 40}, {"max_new_tokens", 200}, {"use_cache", false}};
  if (vocabulary == nullptr) return json;
  add_end_of_text(*vocabulary, json);
  json["pad_token_id"] = vocabulary->end_of_text();
  return json;
}

ordered_json tokenizer_configuration(const data::Vocabulary& vocabulary, const config::RunConfig& config) {
  const std::string end(vocabulary.token_bytes(vocabulary.end_of_text()));
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"model_max_length", config::context_window_tokens(config.data)},
          {"clean_up_tokenization_spaces", false},
          {"bos_token", end},
          {"eos_token", end},
          {"pad_token", end}};
}

void write_json(const fs::path& file, const ordered_json& json) {
  base::write_file_atomically(file, json.dump(2) + "\n");
}

std::string embedded(const unsigned char* begin, std::size_t bytes) {
  return {begin, begin + bytes};
}

}  // namespace

void export_huggingface(const io::Checkpoint& checkpoint, io::Weights which, const data::Vocabulary* vocabulary,
                        const fs::path& folder) {
  base::make_directories(folder);
  export_safetensors(checkpoint, which, folder / model::kExportedWeights);
  const config::RunConfig config = configuration_of(checkpoint);
  ordered_json architecture = architecture_json(config);
  if (vocabulary != nullptr) {
    add_end_of_text(*vocabulary, architecture);
    base::write_file_atomically(folder / "tokenizer.json", data::tokenizer_json(*vocabulary));
    write_json(folder / "tokenizer_config.json", tokenizer_configuration(*vocabulary, config));
  }
  write_json(folder / "config.json", architecture);
  write_json(folder / "generation_config.json", generation_json(vocabulary));
  base::write_file_atomically(folder / "configuration_kangpt.py",
                              embedded(configuration_kangpt, configuration_kangpt_bytes));
  base::write_file_atomically(folder / "modeling_kangpt.py", embedded(modeling_kangpt, modeling_kangpt_bytes));
  base::write_file_atomically(folder / "README.md", model_card(checkpoint, config));
}

}  // namespace kangpt::tools
