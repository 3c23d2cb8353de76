// Numbers that each sublayer of a network takes memory for: what model_memory.hpp and gpu_memory.hpp add up.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>

#include "config/run_config.hpp"
#include "model/parameters/model_memory.hpp"

namespace kangpt::model {

using Count = std::uint64_t;

inline constexpr Count kFloatBytes = 4;
inline constexpr Count kBfloat16Bytes = 2;

inline Count round_up(Count value, Count step) {
  return (value + step - 1) / step * step;
}
// Of a bfloat16 matrix as the CPU's products take the right one.
Count packed_size(Count rows, Count columns);

struct PassSizes {
  Count batch, time, rows, channels, threads;
  Count features;  // of all heads
  Count heads, head_dim;
  Count taps;
  bool is_rounded;  // bfloat16 products
};

PassSizes pass_sizes(const config::ModelConfig& model, const PassShape& shape);

// Numbers that a sublayer takes, in fp32 unless said otherwise.
struct SublayerNeed {
  // Kept: each is a tensor that all sublayers have, or one that each has for itself.
  std::array<Count, 3> kept{};
  // Scratch memory, the same for all sublayers, as large as the largest needs: wide, its gradient, weight, its
  // gradient, gradient of offsets, copies of a product's transposed operands, attention, convolutions.
  enum Part { kWide, kWideGradient, kWeight, kWeightGradient, kOffsets, kLeft, kRight, kAttention, kTaps, kParts };
  std::array<Count, kParts> shared{};
  // Of bfloat16 products: their operands, rounded; of the right one also as the CPU packs it.
  Count left_rounded = 0;
  Count right_rounded = 0;
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
    right_rounded = std::max(right_rounded, p.inner * p.columns);
    right_packed = std::max(right_packed, packed_size(p.inner, p.columns));
  }
  // The three products of a dense layer from `inputs` to `outputs` features: forward, gradients of weight and input.
  void dense(Count rows, Count inputs, Count outputs) {
    multiply({rows, inputs, outputs, Lies::kAsItIs, Lies::kTransposed});
    multiply({outputs, rows, inputs, Lies::kTransposed, Lies::kAsItIs});
    multiply({rows, outputs, inputs, Lies::kAsItIs, Lies::kAsItIs});
  }

  void unite(const SublayerNeed& other) {
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = std::max(kept[i], other.kept[i]);
    for (std::size_t i = 0; i < kParts; ++i) shared[i] = std::max(shared[i], other.shared[i]);
    left_rounded = std::max(left_rounded, other.left_rounded);
    right_rounded = std::max(right_rounded, other.right_rounded);
    right_packed = std::max(right_packed, other.right_packed);
  }
  Count kept_sum() const { return std::accumulate(kept.begin(), kept.end(), Count{0}); }
  Count shared_sum() const { return std::accumulate(shared.begin(), shared.end(), Count{0}); }
};

SublayerNeed mixer_need(const config::ModelConfig& model, const PassSizes& s, int layer);
SublayerNeed feed_forward_need(const config::ModelConfig& model, const PassSizes& s, int layer);

}  // namespace kangpt::model
