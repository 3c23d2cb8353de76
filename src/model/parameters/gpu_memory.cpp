#include "model/parameters/gpu_memory.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "config/layers.hpp"
#include "model/parameters/sublayer_memory.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using config::ModelConfig;

// As in src/operations/cuda: operations.cpp, kernels.hpp, layer_norm.cu, embedding.cu, sums.cu, attention.cu,
// muon.cu, muon_memory.hpp.
constexpr Count kLogitsBytes = Count{1} << 30;
constexpr Count kMostLossRows = 8192;
constexpr Count kClassifierPitch = 8;
constexpr Count kRowsOfNormSums = 32;
constexpr Count kRowsOfEmbeddingSums = 64;
constexpr Count kRowsOfColumnSums = 512;
constexpr Count kWarp = 32;
constexpr std::array<Count, 8> kChannelsOfALane = {1, 2, 4, 8, 12, 16, 24, 32};
constexpr Count kMostTime = 128;
constexpr std::array<Count, 5> kHeadDims = {2, 4, 8, 16, 32};
constexpr Count kSumsOfANorm = 3;
constexpr Count kKeptSums = 3;
constexpr Count kMuonTile = 64;
constexpr Count kMuonScratch = Count{16} << 20;  // elements of matrices that go together
constexpr Count kTokenBytes = 3 * 8 + 4;         // id, place in the order of the ids, target, mask

Count divided_up(Count value, Count by) {
  return (value + by - 1) / by;
}

template <class Values>
bool contains(const Values& values, Count value) {
  return std::ranges::find(values, value) != values.end();
}

bool has_norm(const PassSizes& s) {
  return s.channels % kWarp == 0 && contains(kChannelsOfALane, s.channels / kWarp);
}

bool has_attention(const PassSizes& s) {
  return s.time <= kMostTime && contains(kHeadDims, s.head_dim);
}

// Bytes of whole residuals, from kernels of their own.
struct FusedNeed {
  std::array<Count, 4> kept{};  // each tensor that is kept
  Count weights = 0;            // as products take them, of all such residuals
  Count wide = 0;               // the widest matrix, of which there are two in training
  Count shared = 0;             // in training, beside those

  void add(const FusedNeed& other) {
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = std::max(kept[i], other.kept[i]);
    weights += other.weights;
    wide = std::max(wide, other.wide);
    shared = std::max(shared, other.shared);
  }
  Count kept_sum() const { return std::accumulate(kept.begin(), kept.end(), Count{0}); }
};

Count operand_bytes(const PassSizes& s) {
  return s.is_rounded ? kBfloat16Bytes : kFloatBytes;
}

FusedNeed fused_attention(const PassSizes& s) {
  const Count operand = operand_bytes(s);
  FusedNeed need;
  need.kept = {kFloatBytes * 3 * s.rows * s.features, operand * s.rows * s.features, kFloatBytes * s.rows * s.heads,
               operand * s.rows * s.channels};
  need.weights = operand * 4 * s.features * s.channels;
  need.wide = operand * s.rows * std::max(3 * s.features, s.channels);
  // The context's gradient, sums over sequences, the gradient of the projections' weights.
  need.shared = kFloatBytes * (s.rows * s.features + 3 * s.batch * s.features + 3 * s.features * s.channels);
  return need;
}

FusedNeed fused_kan(const ModelConfig& model, const PassSizes& s) {
  const Count basis = static_cast<Count>(model.kan_degree) * s.channels;
  FusedNeed need;
  need.weights = operand_bytes(s) * basis * s.channels + kFloatBytes * s.channels;
  need.wide = operand_bytes(s) * s.rows * basis;
  need.shared = kFloatBytes * basis * s.channels;  // the gradient of the coefficients
  return need;
}

// What LibTorch's operators keep at once on their way through a mixer. Counted: of attention, in FP32 and in BF16, what
// is read as products take it, what comes of it, and the gradients of both; of a deformable convolution so many copies
// of what a tap takes from between two positions.
Count temporaries(Mixer mixer, const PassSizes& s) {
  constexpr Count kAttentionBytes = 20, kTapped = 12;
  if (mixer == Mixer::kDeformableConv) return kFloatBytes * kTapped * s.rows * s.channels;
  return mixer == Mixer::kAttention && !has_attention(s) ? kAttentionBytes * s.rows * s.features : 0;
}

// The head's operands, the logits of some rows, the losses; sums of columns.
Count head_bytes(const ModelConfig& model, const PassSizes& s) {
  const Count pitch = round_up(static_cast<Count>(model.vocabulary_size), kClassifierPitch);
  const Count fit = std::clamp<Count>(kLogitsBytes / (pitch * operand_bytes(s)), 4, kMostLossRows);
  const Count rows = std::min(s.rows, std::bit_floor(fit));
  const Count rounded_x = s.is_rounded ? kBfloat16Bytes * s.rows * s.channels : 0;
  return operand_bytes(s) * pitch * (rows + s.channels) + rounded_x + kFloatBytes * s.rows;
}

Count partials_bytes(const PassSizes& s) {
  const Count embedding = 2 * divided_up(s.rows, kRowsOfEmbeddingSums) * s.channels;
  const Count norm = kSumsOfANorm * divided_up(s.rows, kRowsOfNormSums) * s.channels;
  const Count positions =
      s.batch > kRowsOfColumnSums ? divided_up(s.batch, kRowsOfColumnSums) * s.time * s.channels : 0;
  return kFloatBytes * std::max({embedding, norm, positions});
}

// Of all blocks.
struct Blocks {
  Count kept = 0;                      // by all of a training pass
  FusedNeed mixer, feed_forward;       // of those that are fused, the largest; dropout leaves them to validation
  SublayerNeed mixers, feed_forwards;  // of the others, the largest
  bool has_others = false;             // in training
  Count temporaries = 0;               // the most
};

void add_mixer(const ModelConfig& model, const PassSizes& s, int layer, Blocks& blocks) {
  const Mixer mixer = config::layer_mixer(model, layer);
  if (mixer == Mixer::kAttention && has_norm(s) && has_attention(s)) {
    blocks.mixer.add(fused_attention(s));
    if (model.dropout == 0) {
      blocks.kept += fused_attention(s).kept_sum();
      return;
    }
  }
  const SublayerNeed need = mixer_need(model, s, layer);
  blocks.has_others = true;
  blocks.mixers.unite(need);
  blocks.kept += kFloatBytes * need.kept_sum();
  blocks.temporaries = std::max(blocks.temporaries, temporaries(mixer, s));
}

void add_feed_forward(const ModelConfig& model, const PassSizes& s, int layer, Blocks& blocks) {
  if (config::layer_feed_forward(model, layer) == FeedForward::kKan && has_norm(s)) {
    blocks.feed_forward.add(fused_kan(model, s));
    if (model.dropout == 0) return;
  }
  const SublayerNeed need = feed_forward_need(model, s, layer);
  blocks.has_others = true;
  blocks.feed_forwards.unite(need);
  blocks.kept += kFloatBytes * need.kept_sum();
}

// What fused residuals share: their weights, wide matrices; in training the copy of the stream's gradient and sums of
// it too.
Count fused_bytes(const ModelConfig& model, const PassSizes& s, const Blocks& blocks) {
  const Count weights = blocks.mixer.weights + blocks.feed_forward.weights;
  const Count wide = std::max(blocks.mixer.wide, blocks.feed_forward.wide);
  if (weights == 0 || model.dropout > 0) return weights + wide;
  const Count sums = kKeptSums * kSumsOfANorm * divided_up(s.rows, kRowsOfNormSums) * s.channels;
  return weights + 2 * wide + blocks.mixer.shared + blocks.feed_forward.shared +
         operand_bytes(s) * s.rows * s.channels + kFloatBytes * sums;
}

// Scratch memory of the others, on which the final norm draws too.
Count others_bytes(const ModelConfig& model, const PassSizes& s, const Blocks& blocks) {
  using Need = SublayerNeed;
  Need any = blocks.mixers;
  any.unite(blocks.feed_forwards);
  Count numbers = 0;
  for (const Need::Part part : {Need::kWide, Need::kWideGradient, Need::kWeight, Need::kWeightGradient, Need::kOffsets})
    numbers += any.shared[part];
  const Count norms = blocks.has_others || model.final_norm ? 2 * s.rows * s.channels : 0;
  const Count branch = model.dropout > 0 ? s.rows * s.channels : 0;
  const Count rounded = s.is_rounded ? kBfloat16Bytes * (any.left_rounded + any.right_rounded) : 0;
  return kFloatBytes * (numbers + norms + branch) + rounded + blocks.temporaries;
}

// Of a pass that keeps nothing: a block overwrites what the one before it kept.
Count overwritten_bytes(const Blocks& blocks) {
  SublayerNeed others = blocks.mixers;
  others.unite(blocks.feed_forwards);
  Count bytes = 0;
  for (std::size_t i = 0; i < blocks.mixer.kept.size(); ++i)
    bytes += std::max(blocks.mixer.kept[i], i < others.kept.size() ? kFloatBytes * others.kept[i] : 0);
  return bytes;
}

}  // namespace

// Twice each matrix and its square, in whole tiles.
std::uint64_t gpu_muon_bytes(std::span<const MatrixShape> matrices) {
  Count together = 0, most = 0;
  for (const auto& [rows, columns] : matrices) {
    const Count height = round_up(std::min(rows, columns), kMuonTile);
    const Count elements = 2 * height * (round_up(std::max(rows, columns), kMuonTile) + height);
    together = together + elements > kMuonScratch ? elements : together + elements;
    most = std::max(most, together);
  }
  return kFloatBytes * most;
}

bool has_fused_residuals(const ModelConfig& model) {
  return has_norm(pass_sizes(model, {}));
}

bool has_fused_attention(const ModelConfig& model, const PassShape& shape) {
  return has_attention(pass_sizes(model, shape));
}

PassMemory gpu_pass_memory(const ModelConfig& model, const PassShape& shape) {
  const PassSizes s = pass_sizes(model, shape);
  const Count stream = s.rows * s.channels;
  const Count statistics = 2 * s.rows;
  const auto layers = static_cast<Count>(model.layers);
  Blocks blocks;
  for (int layer = 0; layer < model.layers; ++layer) {
    add_mixer(model, s, layer, blocks);
    add_feed_forward(model, s, layer, blocks);
  }
  const bool recomputes = model.recompute == config::Recompute::kLayers;
  const Count fused_kept = model.dropout > 0 ? 0 : blocks.mixer.kept_sum();
  const Count of_a_layer = fused_kept + kFloatBytes * (blocks.mixers.kept_sum() + blocks.feed_forwards.kept_sum());
  const Count streams =
      recomputes ? (layers + 2) * stream + 2 * statistics : (2 * layers + 1) * stream + 2 * layers * statistics;
  const Count stream_gradient = stream;
  const Count validation = overwritten_bytes(blocks) + kFloatBytes * (stream + statistics);
  PassMemory memory;
  memory.kept_bytes = (recomputes ? of_a_layer : blocks.kept) +
                      kFloatBytes * (streams + stream_gradient + (model.final_norm ? statistics : 0));
  memory.shared_bytes = fused_bytes(model, s, blocks) + others_bytes(model, s, blocks) + head_bytes(model, s) +
                        partials_bytes(s) + validation + kTokenBytes * s.rows;
  return memory;
}

}  // namespace kangpt::model
