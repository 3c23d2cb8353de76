// Vectorised loops of the CPU implementation. Raw pointers, one thread, no allocation, free of LibTorch.
#pragma once

#include <cstdint>

namespace kangpt::operations::cpu {

// Every kernel exists for float and double. Float versions are compiled for AVX-512, AVX2 and the base instruction set;
// the processor decides at program start. Matrices are row-major and contiguous unless a stride is given.

template <class T>
struct LayerNorm {  // u = (x - mean) * deviation * weight + bias, deviation = 1 / sqrt(variance + epsilon)
  const T* x;       // [rows, channels]
  const T* weight;  // [channels]
  const T* bias;
  T* u;          // [rows, channels]
  T* mean;       // [rows]
  T* deviation;  // [rows]
  std::int64_t rows;
  std::int64_t channels;
};
void layer_norm(const LayerNorm<float>& a);
void layer_norm(const LayerNorm<double>& a);

template <class T>
struct LayerNormBackward {
  const T* x;
  const T* mean;
  const T* deviation;
  const T* weight;
  const T* du;
  T* dx;       // [rows, channels], added to
  T* dweight;  // [channels], added to
  T* dbias;    // [channels], added to
  std::int64_t rows;
  std::int64_t channels;
};
void layer_norm_backward(const LayerNormBackward<float>& a);
void layer_norm_backward(const LayerNormBackward<double>& a);

template <class T>
struct Chebyshev {
  const T* u;  // [rows, channels]
  T* basis;    // [rows, degree * channels]
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t degree;
};
void chebyshev_basis(const Chebyshev<float>& a);
void chebyshev_basis(const Chebyshev<double>& a);

template <class T>
struct ChebyshevBackward {
  const T* basis;   // [rows, degree * channels]
  const T* dbasis;  // [rows, degree * channels]
  T* du;            // [rows, channels]
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t degree;
};
void chebyshev_backward(const ChebyshevBackward<float>& a);
void chebyshev_backward(const ChebyshevBackward<double>& a);

template <class T>
struct Gelu {
  const T* z;
  T* values;  // gelu: the activations; gelu_backward: gradients, in place
  std::int64_t count;
};
void gelu(const Gelu<float>& a);
void gelu(const Gelu<double>& a);
void gelu_backward(const Gelu<float>& a);
void gelu_backward(const Gelu<double>& a);

// One sequence. The scratch memory holds attention_scratch_size() elements.
template <class T>
struct Attention {
  const T* qkv;       // [time, 3 * heads * head_dim]
  T* context;         // [time, heads * head_dim]: written by attention, read by attention_backward
  T* log_sums;        // [heads, time]: likewise; of each query, log of the sum of exp(score)
  const T* dcontext;  // the last two: attention_backward alone
  T* dqkv;
  T* scratch;
  std::int64_t time;
  std::int64_t heads;
  std::int64_t head_dim;
};
// Whether this processor's registers hold the 16 numbers of a vector of these kernels.
bool lanes_are_a_register();
std::int64_t attention_scratch_size(std::int64_t time, std::int64_t head_dim);
void attention(const Attention<float>& a);
void attention(const Attention<double>& a);
void attention_backward(const Attention<float>& a);
void attention_backward(const Attention<double>& a);

// One tile of transposed logits, [vocabulary, rows].
template <class T>
struct SoftmaxTile {
  T* tile;
  T* maximum;  // [rows]: softmax_tile writes the greatest logit of each column
  T* sum;      // [rows]: softmax_tile writes the sum of exp(logit - maximum), which replaces the logit
  std::int64_t vocabulary;
  std::int64_t rows;
};
void softmax_tile(const SoftmaxTile<float>& a);
void softmax_tile(const SoftmaxTile<double>& a);

template <class T>
struct ScaleRows {  // scaled[i, j] = factor[i] * matrix[i, j]
  const T* matrix;
  const T* factor;
  T* scaled;
  std::int64_t rows;
  std::int64_t columns;
};
void scale_rows(const ScaleRows<float>& a);
void scale_rows(const ScaleRows<double>& a);

template <class T>
struct AddScaledColumns {  // sum[i, j] += factor[j] * matrix[i, j]
  const T* matrix;
  const T* factor;
  T* sum;
  std::int64_t rows;
  std::int64_t columns;
};
void add_scaled_columns(const AddScaledColumns<float>& a);
void add_scaled_columns(const AddScaledColumns<double>& a);

template <class T>
struct AddScaled {  // sum[i] += factor * values[i]
  const T* values;
  T factor;
  T* sum;
  std::int64_t count;
};
void add_scaled(const AddScaled<float>& a);
void add_scaled(const AddScaled<double>& a);

template <class T>
struct Exponentials {  // result[i] = factor[i] * exp(value[i] - shift[i])
  const T* value;
  const T* shift;
  const T* factor;
  T* result;
  std::int64_t count;
};
void exponentials(const Exponentials<float>& a);
void exponentials(const Exponentials<double>& a);

template <class T>
struct ColumnSums {  // sums[c] += sum over rows of matrix[r, c], in row order
  const T* matrix;
  T* sums;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;  // elements from row to row
};
void add_column_sums(const ColumnSums<float>& a);
void add_column_sums(const ColumnSums<double>& a);

template <class T>
struct Transpose {  // target[c, r] = source[r, c]
  const T* source;
  T* target;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t source_stride;
  std::int64_t target_stride;
};
void transpose(const Transpose<float>& a);
void transpose(const Transpose<double>& a);

}  // namespace kangpt::operations::cpu
