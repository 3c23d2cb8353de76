#include "model/parameters/model_memory.hpp"

#include <algorithm>

#include "model/parameters/sublayer_memory.hpp"

namespace kangpt::model {
namespace {

using config::ModelConfig;

// As in src/operations/cpu/head_loss.cpp.
constexpr Count kHeadRows = 512;
constexpr Count kHeadTile = 256;

Count head_bytes(const ModelConfig& model, const PassSizes& s) {
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
  const PassSizes s = pass_sizes(model, shape);
  const Count stream = s.rows * s.channels;
  const Count statistics = 2 * s.rows;
  const auto layers = static_cast<Count>(model.layers);
  const bool recomputes = model.recompute == config::Recompute::kLayers;
  SublayerNeed mixers, feed_forwards;  // the largest
  Count kept = 0;
  for (int layer = 0; layer < model.layers; ++layer) {
    const SublayerNeed first = mixer_need(model, s, layer), second = feed_forward_need(model, s, layer);
    mixers.unite(first);
    feed_forwards.unite(second);
    kept += first.kept_sum() + second.kept_sum();
  }
  if (recomputes) kept = mixers.kept_sum() + feed_forwards.kept_sum();
  kept += recomputes ? (layers + 2) * stream + 2 * statistics : (2 * layers + 1) * stream + 2 * layers * statistics;
  SublayerNeed any = mixers;
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
