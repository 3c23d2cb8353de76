#include "model/parameters/parameter_layout.hpp"

#include <sstream>
#include <utility>

#include "config/layers.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using config::ModelConfig;

constexpr std::uint64_t kAlignment = 16;  // elements: 64 bytes, a cache line
// Coefficients of a rational function of order 5/4: a_0 to a_5, and b_1 to b_4 (the denominator begins with 1).
constexpr std::int64_t kRationalNumerator = 6;
constexpr std::int64_t kRationalDenominator = 4;

// Appends entries to a table, each at the next aligned offset, under a common prefix.
class TableBuilder {
 public:
  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::uint64_t size = 1;
    for (const std::int64_t extent : shape) size *= static_cast<std::uint64_t>(extent);
    const std::uint64_t offset = (table_.flat_size + kAlignment - 1) / kAlignment * kAlignment;
    table_.entries.push_back({prefix_ + name, std::move(shape), offset, size});
    table_.flat_size = offset + size;
    table_.parameter_count += size;
  }
  // NAME.weight with the given shape and NAME.bias with its first extent.
  void add_layer(const std::string& name, std::vector<std::int64_t> weight_shape) {
    const std::int64_t outputs = weight_shape.front();
    add(name + ".weight", std::move(weight_shape));
    add(name + ".bias", {outputs});
  }
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  base::ParameterTable finish() { return std::move(table_); }

 private:
  base::ParameterTable table_;
  std::string prefix_;
};

void add_attention(TableBuilder& table, const ModelConfig& model) {
  const std::int64_t features = std::int64_t{model.heads} * model.head_dim;
  table.add_layer("attention.query", {features, model.d_model});
  table.add_layer("attention.key", {features, model.d_model});
  table.add_layer("attention.value", {features, model.d_model});
  table.add_layer("attention.output", {model.d_model, features});
}

void add_convmod(TableBuilder& table, const ModelConfig& model) {
  table.add_layer("convmod.gate", {model.d_model, model.d_model});
  table.add_layer("convmod.value", {model.d_model, model.d_model});
  table.add_layer("convmod.depthwise", {model.d_model, model.kernel_size});
  table.add_layer("convmod.output", {model.d_model, model.d_model});
}

void add_separable(TableBuilder& table, const ModelConfig& model) {
  table.add_layer("separable.depthwise", {model.d_model, model.kernel_size});
  table.add_layer("separable.pointwise", {model.d_model, model.d_model});
}

// Row g*K+k of offset_pointwise is the offset o of tap k in group g; row G*K + g*K+k its modulation m.
void add_deformable(TableBuilder& table, const ModelConfig& model) {
  const std::int64_t taps = std::int64_t{model.offset_groups} * model.kernel_size;
  table.add_layer("deformable.depthwise", {model.d_model, model.kernel_size});
  table.add_layer("deformable.offset_depthwise", {model.d_model, model.kernel_size});
  table.add_layer("deformable.offset_pointwise", {2 * taps, model.d_model});
  table.add_layer("deformable.pointwise", {model.d_model, model.d_model});
}

void add_mixer(TableBuilder& table, const ModelConfig& model, int layer) {
  switch (config::layer_mixer(model, layer)) {
    case Mixer::kAttention:
      return add_attention(table, model);
    case Mixer::kConvMod:
      return add_convmod(table, model);
    case Mixer::kConv:
    case Mixer::kDilatedConv:
      return table.add_layer("conv", {model.d_model, model.d_model, model.kernel_size});
    case Mixer::kSeparableConv:
      return add_separable(table, model);
    case Mixer::kDeformableConv:
      return add_deformable(table, model);
  }
}

void add_mlp(TableBuilder& table, const ModelConfig& model, const std::string& name) {
  table.add_layer(name + ".up", {model.mlp_hidden, model.d_model});
  table.add_layer(name + ".down", {model.d_model, model.mlp_hidden});
}

void add_swiglu(TableBuilder& table, const ModelConfig& model) {
  table.add("swiglu.gate.weight", {model.mlp_hidden, model.d_model});
  table.add("swiglu.up.weight", {model.mlp_hidden, model.d_model});
  table.add("swiglu.down.weight", {model.d_model, model.mlp_hidden});
}

// Row g of the coefficients is the function of group g: of channels before `up` (input) and before `down` (hidden).
void add_grouped_kan(TableBuilder& table, const ModelConfig& model) {
  const std::int64_t groups = config::function_groups(model);
  for (const char* const place : {"input", "hidden"}) {
    table.add(std::string("grouped_kan.") + place + ".coefficients", {groups, model.kan_degree + 1});
  }
  add_mlp(table, model, "grouped_kan");
}

void add_rational_kan(TableBuilder& table, const ModelConfig& model) {
  const std::int64_t groups = config::function_groups(model);
  for (const std::string place : {"input", "hidden"}) {
    table.add("rational_kan." + place + ".numerator", {groups, kRationalNumerator});
    table.add("rational_kan." + place + ".denominator", {groups, kRationalDenominator});
  }
  add_mlp(table, model, "rational_kan");
}

void add_feed_forward(TableBuilder& table, const ModelConfig& model, int layer) {
  switch (config::layer_feed_forward(model, layer)) {
    case FeedForward::kKan:
      return table.add("kan.coefficients", {model.d_model, model.d_model, model.kan_degree + 1});
    case FeedForward::kMlp:
      return add_mlp(table, model, "mlp");
    case FeedForward::kSwiglu:
      return add_swiglu(table, model);
    case FeedForward::kGroupedKan:
      return add_grouped_kan(table, model);
    case FeedForward::kRationalKan:
      return add_rational_kan(table, model);
    case FeedForward::kHybrid:
      return;  // of no layer
  }
}

}  // namespace

std::string hidden_difference(const ModelConfig& is, const ModelConfig& is_not) {
  std::ostringstream text;
  if (config::has_mixer(is, Mixer::kAttention) && is.heads != is_not.heads) {
    text << "model.heads is " << is.heads << ", not " << is_not.heads;
    return text.str();
  }
  for (int layer = 0; layer < is.layers; ++layer) {
    const int dilation = config::layer_dilation(is, layer), other = config::layer_dilation(is_not, layer);
    if (dilation == other) continue;
    text << "the dilation of layer " << layer << " (model.mixer, model.dilation) is " << dilation << ", not " << other;
    return text.str();
  }
  if (config::has_mixer(is, Mixer::kDeformableConv) && is.max_offset != is_not.max_offset) {
    text << "model.max_offset is " << is.max_offset << ", not " << is_not.max_offset;
  }
  return text.str();
}

base::ParameterTable parameter_layout(const ModelConfig& model) {
  TableBuilder table;
  table.add("token_embedding.weight", {model.vocabulary_size, model.d_model});
  table.add("position_embedding.weight", {model.sequence_length, model.d_model});
  for (int layer = 0; layer < model.layers; ++layer) {
    table.set_prefix("layers." + std::to_string(layer) + ".");
    table.add("mixer_norm.weight", {model.d_model});
    table.add("mixer_norm.bias", {model.d_model});
    add_mixer(table, model, layer);
    table.add("feed_forward_norm.weight", {model.d_model});
    table.add("feed_forward_norm.bias", {model.d_model});
    add_feed_forward(table, model, layer);
  }
  table.set_prefix("");
  if (model.final_norm) {
    table.add("final_norm.weight", {model.d_model});
    table.add("final_norm.bias", {model.d_model});
  }
  table.add("head.weight", {model.vocabulary_size, model.d_model});
  return table.finish();
}

}  // namespace kangpt::model
