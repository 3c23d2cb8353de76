// What attention does to a tile of scores between the matrix products. Raw pointers, one thread, free of LibTorch.
#pragma once

#include <cstdint>

namespace kangpt::operations::cpu {

// Times of a tile at the most, of keys as of queries: a tile of scores, 16 KB in fp32, stays in the first-level cache.
inline constexpr std::int64_t kAttentionTile = 64;

// Whether the keys of a tile are those at the times of its queries: then some are in the future of some queries.
enum class TileTimes { kBefore, kSame };

// Scores are transposed, [keys, queries], contiguous; queries are a multiple of 16. So no sum runs across lanes.
template <class T>
struct WeightsTile {  // the softmax goes on by one tile of keys (Milakov and Gimelshein, Online normalizer, 2018)
  T* scores;          // become exp(score - maximum), for keys in the future 0
  T* maximum;         // [queries]: of the scores so far
  T* sum;             // [queries]: of exp(score - maximum) so far
  T* context;         // [head_dim, queries]: sums of weighted values so far, scaled to the new maximum
  std::int64_t keys;
  std::int64_t queries;
  std::int64_t head_dim;
  TileTimes times;
};
void weights_tile(const WeightsTile<float>& a);
void weights_tile(const WeightsTile<double>& a);

template <class T>
struct FinishedTile {
  T* context;        // [head_dim, queries]: divided by the sums
  const T* maximum;  // [queries]
  T* sum;            // [queries]: becomes log of the sum of exp(score)
  std::int64_t queries;
  std::int64_t head_dim;
};
void finish_tile(const FinishedTile<float>& a);
void finish_tile(const FinishedTile<double>& a);

template <class T>
struct GradientTile {
  T* scores;          // become weights, exp(score - log_sum), for keys in the future 0
  T* dweights;        // become dscores, weight * (dweight - mean)
  const T* log_sums;  // [queries]
  const T* means;     // [queries]: dcontext . context
  std::int64_t keys;
  std::int64_t queries;
  TileTimes times;
};
void gradient_tile(const GradientTile<float>& a);
void gradient_tile(const GradientTile<double>& a);

template <class T>
struct PackedRows {  // packed[r, c] = factor * source[r * stride + c], then rows of zeros
  const T* source;
  std::int64_t stride;
  T factor;
  T* packed;  // [packed_rows, columns]
  std::int64_t rows;
  std::int64_t packed_rows;
  std::int64_t columns;
};
void pack_rows(const PackedRows<float>& a);
void pack_rows(const PackedRows<double>& a);

template <class T>
struct RowProducts {  // products[r] = sum over c of a[r * stride + c] b[r * stride + c]
  const T* a;
  const T* b;
  std::int64_t stride;
  T* products;
  std::int64_t rows;
  std::int64_t columns;
};
void row_products(const RowProducts<float>& a);
void row_products(const RowProducts<double>& a);

}  // namespace kangpt::operations::cpu
