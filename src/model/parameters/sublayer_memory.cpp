#include "model/parameters/sublayer_memory.hpp"

#include "config/layers.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using config::ModelConfig;
using Need = SublayerNeed;
using Sizes = PassSizes;

// As in src/operations/cpu: bfloat16_kernels.hpp, tiled_attention.cpp, attention.cpp.
constexpr Count kPanelColumns = 64;
constexpr Count kAttentionTile = 64;
constexpr Count kAttentionParts = 7;
constexpr Count kAttentionMatrices = 3;
constexpr Count kWideHead = 16;
constexpr Count kLongTime = 128;
constexpr Count kLanes = 16;

// Each thread's work on a tile or a head, and where heads are shared by threads, all that is packed for them.
Count attention_scratch(const Sizes& s) {
  if (s.head_dim < kWideHead && s.time < kLongTime)
    return s.threads * (6 * s.head_dim + 2 + kLanes) * round_up(s.time, kLanes);
  const Count all_heads = s.batch * s.heads;
  const Count rounds = (all_heads + s.threads - 1) / s.threads;
  const bool is_apart = rounds * s.threads * 5 <= all_heads * 7;
  const Count tiles = (s.time + kAttentionTile - 1) / kAttentionTile;
  const Count matrix = s.head_dim * kAttentionTile;
  const Count packed = tiles * (kAttentionParts * matrix + matrix + 2 * kAttentionTile);
  const Count of_a_thread = 2 * kAttentionTile * kAttentionTile + kAttentionMatrices * matrix + 2 * kAttentionTile;
  return (is_apart ? s.threads : all_heads) * packed + s.threads * of_a_thread;
}

Need attention(const Sizes& s) {
  Need need;
  need.kept = {3 * s.rows * s.features, s.rows * s.features, s.rows * s.heads};
  need.take(Need::kWide, s.rows * s.features);
  need.take(Need::kWideGradient, 3 * s.rows * s.features);
  need.take(Need::kWeight, 3 * s.features * s.channels);
  need.take(Need::kWeightGradient, 3 * s.features * s.channels);
  need.take(Need::kAttention, attention_scratch(s));
  need.dense(s.rows, s.channels, 3 * s.features);
  need.dense(s.rows, s.features, s.channels);
  return need;
}

// A tap-major copy of the weight, and a share of the gradient for each sequence.
void take_taps(const Sizes& s, Need& need) {
  need.take(Need::kTaps, s.taps * s.channels + (s.batch + 1) * (s.taps + 1) * s.channels);
}

// Rows of `width` numbers that a product makes channels of, its weight, and the gradients of both.
void take_wide_rows(const Sizes& s, Count width, Need& need) {
  need.take(Need::kWide, s.rows * width);
  need.take(Need::kWideGradient, s.rows * width);
  need.take(Need::kWeight, width * s.channels);
  need.take(Need::kWeightGradient, width * s.channels);
}

Need convolution(const Sizes& s) {
  Need need;
  const Count wide = s.taps * s.channels;
  take_wide_rows(s, wide, need);
  need.multiply({s.rows, wide, s.channels, Need::Lies::kAsItIs, Need::Lies::kAsItIs});
  need.multiply({s.channels, s.rows, wide, Need::Lies::kTransposed, Need::Lies::kAsItIs});
  need.multiply({s.rows, s.channels, wide, Need::Lies::kAsItIs, Need::Lies::kAsItIs});
  return need;
}

Need modulation(const Sizes& s) {
  Need need;
  const Count activations = s.rows * s.channels;
  need.kept = {activations, activations, 0};
  need.take(Need::kWide, 3 * activations);
  need.take(Need::kWideGradient, 3 * activations);
  need.dense(s.rows, s.channels, s.channels);
  take_taps(s, need);
  return need;
}

Need separable(const Sizes& s) {
  Need need;
  need.take(Need::kWide, s.rows * s.channels);
  need.take(Need::kWideGradient, s.rows * s.channels);
  need.dense(s.rows, s.channels, s.channels);
  take_taps(s, need);
  return need;
}

Need deformable(const ModelConfig& model, const Sizes& s) {
  Need need = separable(s);
  const Count offsets = 2 * static_cast<Count>(model.offset_groups) * s.taps;
  need.kept = {s.rows * offsets, s.rows * s.channels, 0};
  need.take(Need::kWideGradient, 2 * s.rows * s.channels);
  need.take(Need::kOffsets, s.rows * offsets);
  need.dense(s.rows, s.channels, offsets);
  return need;
}

// The basis is computed anew in the backward pass: nothing is kept.
Need kan(const ModelConfig& model, const Sizes& s) {
  Need need;
  const Count basis = static_cast<Count>(model.kan_degree) * s.channels;
  take_wide_rows(s, basis, need);
  need.multiply({s.rows, basis, s.channels, Need::Lies::kAsItIs, Need::Lies::kAsItIs});
  need.multiply({s.rows, s.channels, basis, Need::Lies::kAsItIs, Need::Lies::kTransposed});
  need.multiply({s.channels, s.rows, basis, Need::Lies::kTransposed, Need::Lies::kAsItIs});
  return need;
}

Need mlp(const ModelConfig& model, const Sizes& s) {
  Need need;
  const auto hidden = static_cast<Count>(model.mlp_hidden);
  need.kept = {s.rows * hidden, 0, 0};
  need.take(Need::kWide, s.rows * hidden);
  need.take(Need::kWideGradient, s.rows * hidden);
  need.dense(s.rows, s.channels, hidden);
  need.dense(s.rows, hidden, s.channels);
  return need;
}

Need swiglu(const ModelConfig& model, const Sizes& s) {
  Need need = mlp(model, s);
  need.kept[1] = need.kept[0];
  return need;
}

// Functions of channels before both dense layers.
Need group_kan(const ModelConfig& model, const Sizes& s) {
  Need need = mlp(model, s);
  need.take(Need::kWide, s.rows * s.channels);
  need.take(Need::kWideGradient, s.rows * s.channels);
  return need;
}

}  // namespace

Count packed_size(Count rows, Count columns) {
  return round_up(columns, kPanelColumns) * round_up(rows, 2);
}

PassSizes pass_sizes(const ModelConfig& model, const PassShape& shape) {
  PassSizes s{};
  s.batch = static_cast<Count>(shape.sequences);
  s.time = static_cast<Count>(shape.time);
  s.rows = s.batch * s.time;
  s.channels = static_cast<Count>(model.d_model);
  s.threads = static_cast<Count>(shape.threads);
  s.heads = static_cast<Count>(model.heads);
  s.head_dim = static_cast<Count>(model.head_dim);
  s.features = s.heads * s.head_dim;
  s.taps = static_cast<Count>(model.kernel_size);
  s.is_rounded = shape.precision == config::Precision::kBf16;
  return s;
}

SublayerNeed mixer_need(const ModelConfig& model, const PassSizes& s, int layer) {
  switch (config::layer_mixer(model, layer)) {
    case Mixer::kAttention:
      return attention(s);
    case Mixer::kConvMod:
      return modulation(s);
    case Mixer::kConv:
    case Mixer::kDilatedConv:
      return convolution(s);
    case Mixer::kSeparableConv:
      return separable(s);
    case Mixer::kDeformableConv:
      return deformable(model, s);
  }
  return {};
}

SublayerNeed feed_forward_need(const ModelConfig& model, const PassSizes& s, int layer) {
  switch (config::layer_feed_forward(model, layer)) {
    case FeedForward::kKan:
      return kan(model, s);
    case FeedForward::kSwiglu:
      return swiglu(model, s);
    case FeedForward::kGroupedKan:
    case FeedForward::kRationalKan:
      return group_kan(model, s);
    case FeedForward::kMlp:
    case FeedForward::kHybrid:
      break;
  }
  return mlp(model, s);
}

}  // namespace kangpt::model
