// Kernels of own making for GPUs: launches on a stream, without LibTorch. Raw pointers to fp32 in device memory,
// row-major and contiguous; "added to" means that a result accumulates. Every sum has a fixed order that depends on the
// shapes alone, so that the same input gives the same bits on any device; nothing waits and nothing is allocated.
#pragma once

#include <cstdint>

namespace kangpt::operations::cuda {

using Stream = void*;  // cudaStream_t

// u = (x - mean) * deviation * weight + bias, deviation = 1 / sqrt(variance + epsilon).
struct LayerNorm {
  const float* x;  // [rows, channels]
  const float* weight;
  const float* bias;
  float* u;
  float* mean;       // [rows]
  float* deviation;  // [rows]
  std::int64_t rows;
  std::int64_t channels;
  float epsilon;
};
// Whether the two functions below know this number of channels.
bool has_layer_norm(std::int64_t channels);
void layer_norm(const LayerNorm& a, Stream stream);

struct LayerNormBackward {
  const float* x;
  const float* mean;
  const float* deviation;
  const float* weight;
  const float* du;
  float* dx;        // added to
  float* partials;  // scratch, layer_norm_partials() elements
  float* dweight;   // added to
  float* dbias;     // added to
  std::int64_t rows;
  std::int64_t channels;
};
std::int64_t layer_norm_partials(std::int64_t rows, std::int64_t channels);
void layer_norm_backward(const LayerNormBackward& a, Stream stream);

struct Chebyshev {  // as in Operations::chebyshev_basis()
  const float* u;   // [rows, channels]
  float* basis;     // [rows, degree * channels]
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t degree;
};
void chebyshev_basis(const Chebyshev& a, Stream stream);

struct ChebyshevBackward {
  const float* basis;  // of which T_1 alone is read
  const float* dbasis;
  float* du;
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t degree;
};
void chebyshev_backward(const ChebyshevBackward& a, Stream stream);

struct Coefficients {
  const float* coefficients;  // [inputs, outputs, degree + 1]
  float* packed;              // [degree * inputs, outputs]
  float* bias;                // [outputs]
  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t degree;
};
void pack_coefficients(const Coefficients& a, Stream stream);

struct CoefficientGradient {
  const float* dpacked;  // [outputs, degree * inputs]
  const float* dbias;    // [outputs]
  float* gradient;       // [inputs, outputs, degree + 1], added to
  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t degree;
};
void add_coefficient_gradient(const CoefficientGradient& a, Stream stream);

// Causal, of short sequences and narrow heads.
struct Attention {
  const float* qkv;       // [batch * time, 3 * heads * head_dim]
  float* context;         // [batch * time, heads * head_dim]: written by attention(), read by attention_backward()
  float* log_sums;        // [batch, heads, time]: likewise
  const float* dcontext;  // the last two: attention_backward() alone
  float* dqkv;
  std::int64_t batch;
  std::int64_t time;
  std::int64_t heads;
  std::int64_t head_dim;
};
bool has_attention(std::int64_t time, std::int64_t head_dim);
void attention(const Attention& a, Stream stream);
void attention_backward(const Attention& a, Stream stream);

struct Gelu {
  const float* z;
  float* values;  // gelu(): the activations; gelu_backward(): gradients, in place
  std::int64_t count;
};
void gelu(const Gelu& a, Stream stream);
void gelu_backward(const Gelu& a, Stream stream);

struct ColumnSums {
  const float* matrix;  // [rows, columns]
  float* partials;      // scratch, column_sum_partials() elements
  float* sums;          // [columns], added to
  std::int64_t rows;
  std::int64_t columns;
};
std::int64_t column_sum_partials(std::int64_t rows, std::int64_t columns);
void add_column_sums(const ColumnSums& a, Stream stream);

struct Embedding {
  const std::int64_t* ids;  // [rows]
  const float* tokens;      // [vocabulary, channels]
  const float* positions;   // [time, channels]
  float* x;                 // [rows, channels]; row r is at position r % time
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t time;
};
void embed(const Embedding& a, Stream stream);

// Rounds to the nearest bfloat16, ties to even.
struct Rounding {
  const float* from;
  void* to;
  std::int64_t count;
};
void round_to_bfloat16(const Rounding& a, Stream stream);

// Of each row of logits, the cross-entropy with its target; and, where that is asked for, its gradient in their place.
struct Classifier {
  void* logits;                 // [rows, pitch], bfloat16 or fp32
  const std::int64_t* targets;  // [rows]
  const float* mask;            // [rows]; the loss and the gradient of a row are multiplied with it
  float* losses;                // [rows]
  std::int64_t rows;
  std::int64_t vocabulary;  // a row's first logits; gradients of the others are 0
  std::int64_t pitch;       // a multiple of kClassifierPitch
  bool bfloat16;
  bool with_gradient;
};
inline constexpr std::int64_t kClassifierPitch = 8;
void classify(const Classifier& a, Stream stream);

struct Sums {
  const float* first;   // [count]
  const float* second;  // [count]
  double* sums;         // [2]
  std::int64_t count;
};
void sum_both(const Sums& a, Stream stream);

}  // namespace kangpt::operations::cuda
