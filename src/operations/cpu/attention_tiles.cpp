#include "operations/cpu/attention_tiles.hpp"

#include <cmath>
#include <limits>

#include "operations/cpu/vector_math.hpp"

namespace kangpt::operations::cpu {
namespace {

// Loops over the queries of a key, which the compiler cuts into the processor's vectors: it takes comparisons of
// vectors wider than those lane by lane.

// Queries of the tile that come before the key.
KANGPT_INLINE std::int64_t blind_queries(std::int64_t key, std::int64_t queries, TileTimes times) {
  return times == TileTimes::kBefore ? 0 : key < queries ? key : queries;
}

// The first query of the vector in which some see the key.
KANGPT_INLINE std::int64_t first_vector(std::int64_t blind) {
  return blind / kLanes * kLanes;
}

template <class T>
KANGPT_INLINE void raise_maximum(const WeightsTile<T>& a, T* maximum) {
  for (std::int64_t key = 0; key < a.keys; ++key) {
    const T* scores = a.scores + key * a.queries;
    const std::int64_t blind = blind_queries(key, a.queries, a.times);
#pragma omp simd
    for (std::int64_t q = first_vector(blind); q < a.queries; ++q) {
      const T score = q < blind ? std::numeric_limits<T>::lowest() : scores[q];
      maximum[q] = score > maximum[q] ? score : maximum[q];
    }
  }
}

// What was added up so far, scaled to a new maximum.
template <class T>
KANGPT_INLINE void rescale(const WeightsTile<T>& a, const T* maximum) {
  T factor[kAttentionTile];
  T changed = 0;
#pragma omp simd reduction(+ : changed)
  for (std::int64_t q = 0; q < a.queries; ++q) {
    changed += a.maximum[q] == maximum[q] ? T{0} : T{1};
    factor[q] = exponential(a.maximum[q] - maximum[q]);
    a.sum[q] *= factor[q];
    a.maximum[q] = maximum[q];
  }
  if (changed == 0) return;
  for (std::int64_t j = 0; j < a.head_dim; ++j) {
    T* context = a.context + j * a.queries;
#pragma omp simd
    for (std::int64_t q = 0; q < a.queries; ++q) context[q] *= factor[q];
  }
}

template <class T>
KANGPT_INLINE void weights_tile_body(const WeightsTile<T>& a) {
  T maximum[kAttentionTile];
  for (std::int64_t q = 0; q < a.queries; ++q) maximum[q] = a.maximum[q];
  raise_maximum(a, maximum);
  rescale(a, maximum);
  for (std::int64_t key = 0; key < a.keys; ++key) {
    T* scores = a.scores + key * a.queries;
    const std::int64_t blind = blind_queries(key, a.queries, a.times);
    const std::int64_t begin = first_vector(blind);
    for (std::int64_t q = 0; q < begin; ++q) scores[q] = 0;
#pragma omp simd
    for (std::int64_t q = begin; q < a.queries; ++q) {
      const T seen = exponential(scores[q] - maximum[q]);
      const T weight = q < blind ? T{0} : seen;
      scores[q] = weight;
      a.sum[q] += weight;
    }
  }
}

template <class T>
KANGPT_INLINE void finish_tile_body(const FinishedTile<T>& a) {
  for (std::int64_t j = 0; j < a.head_dim; ++j) {
    T* context = a.context + j * a.queries;
#pragma omp simd
    for (std::int64_t q = 0; q < a.queries; ++q) context[q] /= a.sum[q];
  }
  for (std::int64_t q = 0; q < a.queries; ++q) a.sum[q] = a.maximum[q] + std::log(a.sum[q]);
}

template <class T>
KANGPT_INLINE void gradient_tile_body(const GradientTile<T>& a) {
  for (std::int64_t key = 0; key < a.keys; ++key) {
    T* scores = a.scores + key * a.queries;
    T* dweights = a.dweights + key * a.queries;
    const std::int64_t blind = blind_queries(key, a.queries, a.times);
    const std::int64_t begin = first_vector(blind);
    for (std::int64_t q = 0; q < begin; ++q) scores[q] = dweights[q] = 0;
#pragma omp simd
    for (std::int64_t q = begin; q < a.queries; ++q) {
      const T seen = exponential(scores[q] - a.log_sums[q]);
      const T weight = q < blind ? T{0} : seen;
      scores[q] = weight;
      dweights[q] = weight * (dweights[q] - a.means[q]);
    }
  }
}

template <class T>
KANGPT_INLINE void pack_rows_body(const PackedRows<T>& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* source = a.source + row * a.stride;
    T* packed = a.packed + row * a.columns;
#pragma omp simd
    for (std::int64_t c = 0; c < a.columns; ++c) packed[c] = source[c] * a.factor;
  }
  for (std::int64_t i = a.rows * a.columns; i < a.packed_rows * a.columns; ++i) a.packed[i] = 0;
}

template <class T>
KANGPT_INLINE void row_products_body(const RowProducts<T>& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* left = a.a + row * a.stride;
    const T* right = a.b + row * a.stride;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < a.columns; ++c) sum += left[c] * right[c];
    a.products[row] = sum;
  }
}

}  // namespace

KANGPT_KERNEL(weights_tile, WeightsTile)
KANGPT_KERNEL(finish_tile, FinishedTile)
KANGPT_KERNEL(gradient_tile, GradientTile)
KANGPT_KERNEL(pack_rows, PackedRows)
KANGPT_KERNEL(row_products, RowProducts)

}  // namespace kangpt::operations::cpu
