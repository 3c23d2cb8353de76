#include "operations/cpu/kernels.hpp"

#include "operations/cpu/vector_math.hpp"

namespace kangpt::operations::cpu {
namespace {

constexpr double kEpsilon = 1e-6;  // of the layer norm

template <class T>
KANGPT_INLINE void layer_norm_body(const LayerNorm<T>& a) {
  const T scale = T{1} / static_cast<T>(a.channels);
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* x = a.x + row * a.channels;
    T* u = a.u + row * a.channels;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < a.channels; ++c) sum += x[c];
    const T mean = sum * scale;
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t c = 0; c < a.channels; ++c) squares += (x[c] - mean) * (x[c] - mean);
    const T deviation = T{1} / std::sqrt(squares * scale + static_cast<T>(kEpsilon));
#pragma omp simd
    for (std::int64_t c = 0; c < a.channels; ++c) u[c] = (x[c] - mean) * deviation * a.weight[c] + a.bias[c];
    a.mean[row] = mean;
    a.deviation[row] = deviation;
  }
}

// With n = (x - mean) * deviation and g = du * weight: dx = deviation (g - mean(g) - n mean(g n)).
template <class T>
KANGPT_INLINE void layer_norm_backward_body(const LayerNormBackward<T>& a) {
  const std::int64_t channels = a.channels;
  const T scale = T{1} / static_cast<T>(channels);
  const T* weight = a.weight;
  T* dweight = a.dweight;
  T* dbias = a.dbias;
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* x = a.x + row * channels;
    const T* du = a.du + row * channels;
    T* dx = a.dx + row * channels;
    const T mean = a.mean[row];
    const T deviation = a.deviation[row];
    T sum = 0;
    T product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (std::int64_t c = 0; c < channels; ++c) {
      const T g = du[c] * weight[c];
      sum += g;
      product += g * (x[c] - mean) * deviation;
    }
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) {
      dweight[c] += du[c] * (x[c] - mean) * deviation;
      dbias[c] += du[c];
    }
    sum *= scale;
    product *= scale;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) {
      const T n = (x[c] - mean) * deviation;
      dx[c] += deviation * (du[c] * weight[c] - sum - n * product);
    }
  }
}

// T_{d+1} = 2 t T_d - T_{d-1}; a row's T_1 = t and the last two polynomials are where they were written.
template <class T>
KANGPT_INLINE void chebyshev_basis_body(const Chebyshev<T>& a) {
  const std::int64_t channels = a.channels;
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* u = a.u + row * channels;
    T* t = a.basis + row * channels * a.degree;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) t[c] = hyperbolic_tangent(u[c]);
    if (a.degree == 1) continue;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) t[channels + c] = 2 * t[c] * t[c] - 1;
    for (std::int64_t d = 2; d < a.degree; ++d) {
      T* next = t + d * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) next[c] = 2 * t[c] * next[c - channels] - next[c - 2 * channels];
    }
  }
}

// q_d = d (T_{d-1} - t T_d), with T_0 = 1 and T_1 = t.
template <class T>
KANGPT_INLINE void chebyshev_backward_body(const ChebyshevBackward<T>& a) {
  const std::int64_t channels = a.channels;
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* t = a.basis + row * channels * a.degree;
    const T* dbasis = a.dbasis + row * channels * a.degree;
    T* du = a.du + row * channels;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) du[c] = dbasis[c] * (1 - t[c] * t[c]);
    for (std::int64_t d = 1; d < a.degree; ++d) {
      const T* current = t + d * channels;
      const T* gradient = dbasis + d * channels;
      const T order = static_cast<T>(d + 1);
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) {
        du[c] += gradient[c] * order * (current[c - channels] - t[c] * current[c]);
      }
    }
  }
}

constexpr double kGeluScale = 0.79788456080286535588;  // sqrt(2 / pi)
constexpr double kGeluCubic = 0.044715;

template <class T>
KANGPT_INLINE void gelu_body(const Gelu<T>& a) {
  const T scale = static_cast<T>(kGeluScale);
  const T cubic = static_cast<T>(kGeluCubic);
#pragma omp simd
  for (std::int64_t i = 0; i < a.count; ++i) {
    const T z = a.z[i];
    a.values[i] = T{0.5} * z * (1 + hyperbolic_tangent(scale * (z + cubic * z * z * z)));
  }
}

template <class T>
KANGPT_INLINE void gelu_backward_body(const Gelu<T>& a) {
  const T scale = static_cast<T>(kGeluScale);
  const T cubic = static_cast<T>(kGeluCubic);
#pragma omp simd
  for (std::int64_t i = 0; i < a.count; ++i) {
    const T z = a.z[i];
    const T t = hyperbolic_tangent(scale * (z + cubic * z * z * z));
    const T slope = scale * (1 + 3 * cubic * z * z);
    a.values[i] *= T{0.5} * (1 + t) + T{0.5} * z * (1 - t * t) * slope;
  }
}

template <class T>
KANGPT_INLINE void softmax_tile_body(const SoftmaxTile<T>& a) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    a.maximum[r] = a.tile[r];
    a.sum[r] = 0;
  }
  for (std::int64_t v = 1; v < a.vocabulary; ++v) {
    const T* logits = a.tile + v * a.rows;
#pragma omp simd
    for (std::int64_t r = 0; r < a.rows; ++r) a.maximum[r] = logits[r] > a.maximum[r] ? logits[r] : a.maximum[r];
  }
  for (std::int64_t v = 0; v < a.vocabulary; ++v) {
    T* logits = a.tile + v * a.rows;
#pragma omp simd
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const T e = exponential(logits[r] - a.maximum[r]);
      logits[r] = e;
      a.sum[r] += e;
    }
  }
}

template <class T>
KANGPT_INLINE void scale_rows_body(const ScaleRows<T>& a) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const T* row = a.matrix + i * a.columns;
    T* scaled = a.scaled + i * a.columns;
#pragma omp simd
    for (std::int64_t j = 0; j < a.columns; ++j) scaled[j] = a.factor[i] * row[j];
  }
}

template <class T>
KANGPT_INLINE void add_scaled_columns_body(const AddScaledColumns<T>& a) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const T* row = a.matrix + i * a.columns;
    T* sum = a.sum + i * a.columns;
#pragma omp simd
    for (std::int64_t j = 0; j < a.columns; ++j) sum[j] += a.factor[j] * row[j];
  }
}

template <class T>
KANGPT_INLINE void add_scaled_body(const AddScaled<T>& a) {
#pragma omp simd
  for (std::int64_t i = 0; i < a.count; ++i) a.sum[i] += a.factor * a.values[i];
}

template <class T>
KANGPT_INLINE void exponentials_body(const Exponentials<T>& a) {
#pragma omp simd
  for (std::int64_t i = 0; i < a.count; ++i) a.result[i] = a.factor[i] * exponential(a.value[i] - a.shift[i]);
}

template <class T>
KANGPT_INLINE void add_column_sums_body(const ColumnSums<T>& a) {
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const T* values = a.matrix + row * a.stride;
#pragma omp simd
    for (std::int64_t c = 0; c < a.columns; ++c) a.sums[c] += values[c];
  }
}

// One step of a transposition in registers: of each pair of rows `kStep` apart, exchanges the upper right with the
// lower left blocks of kStep lanes.
template <int kStep>
constexpr int upper_lane(int lane) {
  return (lane & kStep) != 0 ? lane + static_cast<int>(kLanes) - kStep : lane;
}
template <int kStep>
constexpr int lower_lane(int lane) {
  return (lane & kStep) != 0 ? lane + static_cast<int>(kLanes) : lane + kStep;
}
template <int kStep>
KANGPT_INLINE void exchange_blocks(Vector<float> (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (std::int64_t row = 0; row < kLanes; ++row) {
    if ((row & kStep) != 0) continue;
    const Vector<float> first = rows[row];
    const Vector<float> second = rows[row + kStep];
    rows[row] = shuffle<upper_lane<kStep>>(first, second);
    rows[row + kStep] = shuffle<lower_lane<kStep>>(first, second);
  }
}

// A whole block of kLanes x kLanes.
KANGPT_INLINE void transpose_block(const float* source, const Transpose<float>& a, float* target) {
  Vector<float> rows[kLanes];
#pragma GCC unroll 16
  for (std::int64_t row = 0; row < kLanes; ++row) rows[row] = load(source + row * a.source_stride);
  exchange_blocks<8>(rows);
  exchange_blocks<4>(rows);
  exchange_blocks<2>(rows);
  exchange_blocks<1>(rows);
#pragma GCC unroll 16
  for (std::int64_t row = 0; row < kLanes; ++row) store(rows[row], target + row * a.target_stride);
}
KANGPT_INLINE void transpose_block(const double* source, const Transpose<double>& a, double* target) {
  for (std::int64_t row = 0; row < kLanes; ++row) {
    for (std::int64_t c = 0; c < kLanes; ++c) target[c * a.target_stride + row] = source[row * a.source_stride + c];
  }
}

template <class T>
KANGPT_INLINE void transpose_body(const Transpose<T>& a) {
  const std::int64_t whole_rows = a.rows / kLanes * kLanes;
  const std::int64_t whole_columns = a.columns / kLanes * kLanes;
  for (std::int64_t c = 0; c < whole_columns; c += kLanes) {
    for (std::int64_t r = 0; r < whole_rows; r += kLanes) {
      transpose_block(a.source + r * a.source_stride + c, a, a.target + c * a.target_stride + r);
    }
  }
  for (std::int64_t r = 0; r < a.rows; ++r) {
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < a.columns; ++c) {
      a.target[c * a.target_stride + r] = a.source[r * a.source_stride + c];
    }
  }
}

}  // namespace

KANGPT_KERNEL(layer_norm, LayerNorm)
KANGPT_KERNEL(layer_norm_backward, LayerNormBackward)
KANGPT_KERNEL(chebyshev_basis, Chebyshev)
KANGPT_KERNEL(chebyshev_backward, ChebyshevBackward)
KANGPT_KERNEL(gelu, Gelu)
KANGPT_KERNEL(gelu_backward, Gelu)
KANGPT_KERNEL(softmax_tile, SoftmaxTile)
KANGPT_KERNEL(scale_rows, ScaleRows)
KANGPT_KERNEL(add_scaled_columns, AddScaledColumns)
KANGPT_KERNEL(add_scaled, AddScaled)
KANGPT_KERNEL(exponentials, Exponentials)
KANGPT_KERNEL(add_column_sums, ColumnSums)
KANGPT_KERNEL(transpose, Transpose)

}  // namespace kangpt::operations::cpu
