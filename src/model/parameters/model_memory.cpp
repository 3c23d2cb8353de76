#include "model/parameters/model_memory.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "config/layers.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using config::ModelConfig;
using Count = std::uint64_t;

constexpr Count kFloatBytes = 4;
constexpr Count kBfloat16Bytes = 2;

// As in src/operations/cpu: head_loss.cpp, bfloat16_kernels.hpp, tiled_attention.cpp, attention.cpp.
constexpr Count kHeadRows = 512;
constexpr Count kHeadTile = 256;
constexpr Count kPanelColumns = 64;
constexpr Count kAttentionTile = 64;
constexpr Count kAttentionParts = 7;
constexpr Count kAttentionMatrices = 3;
constexpr Count kWideHead = 16;
constexpr Count kLongTime = 128;
constexpr Count kLanes = 16;

Count round_up(Count value, Count step) {
  return (value + step - 1) / step * step;
}

Count packed_size(Count rows, Count columns) {
  return round_up(columns, kPanelColumns) * round_up(rows, 2);
}

// Numbers that a sublayer takes, in fp32 unless said otherwise.
struct Need {
  // Kept: each is a tensor that all sublayers have, or one that each has for itself.
  std::array<Count, 3> kept{};
  // Scratch memory, the same for all sublayers, as large as the largest needs: wide, its gradient, weight, its
  // gradient, gradient of offsets, copies of a product's transposed operands, attention, convolutions.
  enum Part { kWide, kWideGradient, kWeight, kWeightGradient, kOffsets, kLeft, kRight, kAttention, kTaps, kParts };
  std::array<Count, kParts> shared{};
  // Of bfloat16 products: their operands, rounded.
  Count left_rounded = 0;
  Count right_packed = 0;

  void take(Part part, Count count) { shared[part] = std::max(shared[part], count); }

  enum class Lies { kAsItIs, kTransposed };
  // left [rows, inner] times right [inner, columns].
  struct Product {
    Count rows, inner, columns;
    Lies left, right;
  };
  void multiply(const Product& p) {
    if (p.left == Lies::kTransposed) take(kLeft, p.rows * p.inner);
    if (p.right == Lies::kTransposed) take(kRight, p.inner * p.columns);
    left_rounded = std::max(left_rounded, p.rows * round_up(p.inner, 2));
    right_packed = std::max(right_packed, packed_size(p.inner, p.columns));
  }
  // The three products of a dense layer from `inputs` to `outputs` features: forward, gradients of weight and input.
  void dense(Count rows, Count inputs, Count outputs) {
    multiply({rows, inputs, outputs, Lies::kAsItIs, Lies::kTransposed});
    multiply({outputs, rows, inputs, Lies::kTransposed, Lies::kAsItIs});
    multiply({rows, outputs, inputs, Lies::kAsItIs, Lies::kAsItIs});
  }

  void unite(const Need& other) {
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = std::max(kept[i], other.kept[i]);
    for (std::size_t i = 0; i < kParts; ++i) shared[i] = std::max(shared[i], other.shared[i]);
    left_rounded = std::max(left_rounded, other.left_rounded);
    right_packed = std::max(right_packed, other.right_packed);
  }
  Count kept_sum() const { return std::accumulate(kept.begin(), kept.end(), Count{0}); }
  Count shared_sum() const { return std::accumulate(shared.begin(), shared.end(), Count{0}); }
};

struct Sizes {
  Count batch, time, rows, channels, threads;
  Count features;  // of all heads
  Count heads, head_dim;
  Count taps;
  bool is_rounded;  // bfloat16 products
};

Sizes sizes_of(const ModelConfig& model, const PassShape& shape) {
  Sizes s{};
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

Need mixer(const ModelConfig& model, const Sizes& s, int layer) {
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

Need feed_forward(const ModelConfig& model, const Sizes& s, int layer) {
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

Count head_bytes(const ModelConfig& model, const Sizes& s) {
  const auto vocabulary = static_cast<Count>(model.vocabulary_size);
  const Count rows = std::min(s.rows, kHeadRows);
  const Count tiles = (vocabulary + kHeadTile - 1) / kHeadTile;
  const Count maxima_and_sums = 2 * tiles * rows;
  const Count gradients = 3 * s.threads * s.channels * rows;
  const Count x_transposed = s.channels * rows;
  const Count floats = maxima_and_sums + gradients + x_transposed;
  if (!s.is_rounded) return kFloatBytes * (floats + vocabulary * rows + s.threads * s.channels * kHeadTile);
  const Count longer = round_up(std::max(rows, s.channels), 2);
  const Count bfloat16 = packed_size(s.channels, rows) + tiles * packed_size(kHeadTile, rows) +
                         s.threads * (kHeadTile * longer + packed_size(std::max(rows, kHeadTile), s.channels));
  return kFloatBytes * (floats + s.threads * kHeadTile * std::max(rows, s.channels)) + kBfloat16Bytes * bfloat16;
}

}  // namespace

PassMemory pass_memory(const ModelConfig& model, const PassShape& shape) {
  const Sizes s = sizes_of(model, shape);
  const Count stream = s.rows * s.channels;
  const Count statistics = 2 * s.rows;
  const auto layers = static_cast<Count>(model.layers);
  const bool recomputes = model.recompute == config::Recompute::kLayers;
  Need mixers, feed_forwards;  // the largest
  Count kept = 0;
  for (int layer = 0; layer < model.layers; ++layer) {
    const Need first = mixer(model, s, layer), second = feed_forward(model, s, layer);
    mixers.unite(first);
    feed_forwards.unite(second);
    kept += first.kept_sum() + second.kept_sum();
  }
  if (recomputes) kept = mixers.kept_sum() + feed_forwards.kept_sum();
  kept += recomputes ? (layers + 2) * stream + 2 * statistics : (2 * layers + 1) * stream + 2 * layers * statistics;
  Need any = mixers;
  any.unite(feed_forwards);
  const Count validation = stream + any.kept_sum() + statistics;
  const Count norms = 2 * stream;  // and their gradients
  const Count branch = model.dropout > 0 ? stream : 0;
  const Count stream_gradient = stream;
  PassMemory memory;
  memory.kept_bytes = kFloatBytes * (kept + stream_gradient + (model.final_norm ? statistics : 0));
  memory.shared_bytes = kFloatBytes * (any.shared_sum() + norms + branch + validation) + head_bytes(model, s);
  if (s.is_rounded) memory.shared_bytes += kBfloat16Bytes * (any.left_rounded + any.right_packed);
  return memory;
}

}  // namespace kangpt::model
