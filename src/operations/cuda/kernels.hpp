// Kernels of own making for GPUs: launches on a stream, without LibTorch. Raw pointers to fp32 in device memory,
// row-major and contiguous; "added to" means that a result accumulates. Every sum has a fixed order that depends on the
// shapes alone, so that the same input gives the same bits on any device; nothing waits and nothing is allocated.
#pragma once

#include <cstdint>

#include "operations/cuda/launches.hpp"

namespace kangpt::operations::cuda {

// What products take: fp32, or bfloat16.
enum class OperandType { kFp32, kBfloat16 };

// u = (x - mean) * deviation * weight + bias, deviation = 1 / sqrt(variance + epsilon).
struct LayerNorm {
  const float* x;  // [rows, channels]
  const float* weight;
  const float* bias;
  void* u;           // [rows, channels]; with a degree in its place the basis, [rows, degree * channels]
  float* mean;       // [rows]
  float* deviation;  // [rows]
  std::int64_t rows;
  std::int64_t channels;
  float epsilon;
  OperandType type = OperandType::kFp32;  // of u
  std::int64_t degree = 0;                // of Chebyshev polynomials of tanh(u), as in Operations::chebyshev_basis()
  float* out = nullptr;                   // if any: x + out_bias; may be x
  const float* out_bias = nullptr;
};
// Whether the two functions below know this number of channels.
bool has_layer_norm(std::int64_t channels);
void layer_norm(const LayerNorm& a, Stream stream);

struct LayerNormBackward {
  const float* x;
  const float* mean;
  const float* deviation;
  const float* weight;
  const float* bias;
  const void* du;   // with a degree: the gradient of the basis
  float* dx;        // added to
  float* partials;  // [layer_norm_blocks(), 3, channels]: sums of a block's rows, for weight, for bias, of the new dx
  std::int64_t rows;
  std::int64_t channels;
  OperandType type = OperandType::kFp32;  // of du and of the copy
  std::int64_t degree = 0;
  void* copy = nullptr;  // if any: the new dx again
};
std::int64_t layer_norm_blocks(std::int64_t rows);
void layer_norm_backward(const LayerNormBackward& a, Stream stream);
// The last of the partials, and the copy, of a dx that is there already.
void copy_gradient(const LayerNormBackward& a, Stream stream);

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
  float* qkv;             // [batch * time, 3 * heads * head_dim]
  void* context;          // [batch * time, heads * head_dim]: written by attention(), read by attention_backward()
  float* log_sums;        // [batch, heads, time]: likewise
  const float* dcontext;  // the next two: attention_backward() alone
  void* dqkv;
  std::int64_t batch;
  std::int64_t time;
  std::int64_t heads;
  std::int64_t head_dim;
  OperandType type = OperandType::kFp32;  // of context and dqkv
  const float* biases[3] = {};            // if any: attention() adds them to queries, keys and values in qkv
  float* partials = nullptr;              // if any: attention_backward() writes sums of dqkv's rows, a row a sequence
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

// out = value * scale, or 0 where Dropout (dropout.hpp) leaves an element out.
struct Drop {
  const float* values;
  float* out;  // may be `values`
  std::int64_t count;
  std::uint64_t first;  // number of the first element
  std::uint64_t seed;
  std::uint32_t step;
  std::uint32_t place;  // with what the step has above 32 bits
  std::uint32_t kept;
  float scale;
};
void drop(const Drop& a, Stream stream);

struct Swiglu {  // as in Activations; [count] each
  const float* gate;
  const float* up;
  float* activation;
  std::int64_t count;
};
void swiglu(const Swiglu& a, Stream stream);

struct SwigluBackward {
  const float* gate;
  const float* up;
  float* dgate;
  float* dup;  // on entry the gradient of the activation
  std::int64_t count;
};
void swiglu_backward(const SwigluBackward& a, Stream stream);

// A function of each element with coefficients of its group, as in Activations: Chebyshev polynomials of `first`; or a
// quotient with the numerators `first`, 6 terms, and the denominators `second`, 4 terms.
struct GroupFunction {
  const float* u;       // [rows, channels]
  const float* first;   // [groups, first_terms]
  const float* second;  // [groups, second_terms]
  const float* dy;      // backward alone; may be y
  float* y;             // backward: du
  // Backward alone: what a block of rows adds to the gradients, [group_function_blocks(), groups, terms] each.
  float* first_partials;
  float* second_partials;
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t groups;  // up to 65,535
  int first_terms;
  int second_terms;
};
std::int64_t group_function_blocks(std::int64_t rows);
// Whether the two functions below know this number of terms.
bool has_chebyshev_function(std::int64_t terms);
void chebyshev_function(const GroupFunction& a, Stream stream);
void chebyshev_function_backward(const GroupFunction& a, Stream stream);
void rational_function(const GroupFunction& a, Stream stream);
void rational_function_backward(const GroupFunction& a, Stream stream);

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
  std::int64_t vocabulary;
};
void embed(const Embedding& a, Stream stream);

// Adds to each token's gradient the rows of dx that belong to it: in their order, those of a block of rows first.
struct EmbeddingGradient {
  const std::int64_t* ids;       // [rows]
  const std::int64_t* by_token;  // [rows], as TokenRows
  const float* dx;               // [rows, channels]
  float* partials;               // scratch, embedding_gradient_partials() elements
  float* tokens;                 // [vocabulary, channels], added to
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t vocabulary;
};
std::int64_t embedding_gradient_partials(std::int64_t rows, std::int64_t channels);
void add_embedding_gradient(const EmbeddingGradient& a, Stream stream);

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

// AdamW of parts of flat buffers, each with its rate; the gradient there becomes 0.
//   g = gradient_scale * gradient      m' = beta1 m + (1 - beta1) g      v' = beta2 v + (1 - beta2) g^2
//   p' = p - decay * p - step_size * m' / (sqrt(v') * root_correction + epsilon)
inline constexpr int kAdamwParts = 64;
inline constexpr int kAdamwFactors = 64;
struct AdamwPart {
  std::int64_t begin;
  std::int64_t end;
  float step_size;  // learning rate / (1 - beta1^t)
  float decay;      // learning rate * weight decay
  // Factors of both: element i's is factors[first_factor + (cycle_start + i - begin) % cycle_length].
  int first_factor;
  int cycle_length;
  int cycle_start;
  unsigned first_block;  // adamw() sets it
};
struct Adamw {  // goes to the device with the launch, of which 4 KiB can
  float* parameters;
  float* first_moment;
  float* second_moment;
  float* gradient;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float gradient_scale;
  float root_correction;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  int count;  // of parts
  AdamwPart parts[kAdamwParts];
  float factors[kAdamwFactors];
};
void adamw(Adamw a, Stream stream);

// Sums of equal parts of a flat buffer, up to 65,535 of them. Scratch of both: flat_sum_partials() elements.
std::int64_t flat_sum_partials(std::int64_t parts, std::int64_t size);

struct SquaredNorms {
  const float* values;  // [slices, size]
  double* partials;     // scratch
  double* norms;        // [slices]
  std::int64_t slices;
  std::int64_t size;
};
void squared_norms(const SquaredNorms& a, Stream stream);

struct Hashes {                  // as in FlatOperations::hashes()
  const float* values;           // [ranges, size]
  const std::uint64_t* columns;  // factors, [kHashColumns]
  const std::uint64_t* rows;     // factors, [size / kHashColumns + 1]
  std::uint64_t* partials;       // scratch
  std::uint64_t* hashes;         // [ranges]
  std::int64_t ranges;
  std::int64_t size;
};
inline constexpr std::int64_t kHashColumns = 2048;
void hash_ranges(const Hashes& a, Stream stream);

// What a pass makes of the weights for its products, in one launch. `jobs` lies where the weights do.
struct WeightJob {
  // kCopy: [count] -> operands. kPolynomials: coefficients [inputs, outputs, degree + 1] -> operands
  // [degree * inputs, outputs], as Operations::pack_coefficients(). kConstants: the same -> its bias, fp32.
  enum Kind : int { kCopy, kPolynomials, kConstants };
  const float* from;
  void* to;
  std::int64_t inputs;  // kCopy: the count, with 1 output and degree 0
  std::int64_t outputs;
  std::int64_t degree;
  std::int64_t first_block;
  Kind kind;
};
// Of one job.
std::int64_t weight_blocks(const WeightJob& job);
struct Weights {
  const WeightJob* jobs;
  int count;
  OperandType type;
  std::int64_t blocks;  // of all jobs
  MemoryUse from;       // of all jobs
  MemoryUse operands;
  MemoryUse constants;
};
void take_weights(const Weights& a, Stream stream);

// Up to kGradientParts gradients, added to in one launch.
struct GradientPart {
  // kSums: to[c] += sum over r of from[r * pitch + c], for `columns`. kConstants: the same, to each of the `inputs`
  // coefficients [inputs, columns, degree + 1] of T_0. kPolynomials: to those of the other degrees, from
  // [columns, degree * inputs]. kAdd: to[i] += from[i], for `columns`.
  enum Kind : int { kSums, kConstants, kPolynomials, kAdd };
  Kind kind;
  const float* from;
  float* to;
  std::int64_t columns;
  std::int64_t rows = 1;
  std::int64_t pitch = 0;
  std::int64_t inputs = 0;
  std::int64_t degree = 0;
  std::int64_t first_block = 0;  // add_gradients() sets it
};
inline constexpr int kGradientParts = 16;
struct Gradients {
  int count = 0;
  GradientPart parts[kGradientParts] = {};

  void add(const GradientPart& part) { parts[count++] = part; }
  void add(const Gradients& others) {
    for (int i = 0; i < others.count; ++i) add(others.parts[i]);
  }
};
void add_gradients(Gradients a, Stream stream);

}  // namespace kangpt::operations::cuda
