// The steps of the network that are no plain matrix product; one implementation a kind of device.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "config/run_config.hpp"
#include "operations/dropout.hpp"
#include "operations/fused_residuals.hpp"
#include "operations/parameter_views.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// Token losses of one forward pass, summed over unmasked targets.
struct LossSum {
  double loss = 0;    // nats
  double tokens = 0;  // unmasked targets
};

// The sum of the losses on its way to the host.
class QueuedLoss {
 public:
  // [], fp64, on the host.
  explicit QueuedLoss(at::Tensor sum) : sum_(std::move(sum)) {}
  // REQUIRES: the host has waited for what the device had queued with it.
  double value() const { return *sum_.const_data_ptr<double>(); }

 private:
  at::Tensor sum_;
};

// What the loss compares with, each [rows].
struct LossTargets {
  at::Tensor ids;   // int64
  at::Tensor mask;  // 1 where the target counts, else 0; fp32
};

// The tokens of a pass, [rows] each, int64.
struct TokenRows {
  at::Tensor ids;
  // The numbers of the rows, those of smaller ids first, of equal ids the earlier: what a GPU needs for fixed sums.
  // Undefined: not known, as for a CPU.
  at::Tensor by_token;
};

inline constexpr double kLayerNormEpsilon = 1e-6;

// May own scratch memory that it reuses; not thread-safe. All tensors are contiguous, on the implementation's device,
// of one floating dtype. Results go into tensors that the caller shaped; "adds" means that the target is accumulated
// to. Same input, same bits, at a fixed number of threads. Every row of a result depends on its own row of the input
// alone (attention: on the rows of its sequence up to it).
class Operations {
 public:
  virtual ~Operations() = default;

  // c = a b; a [m, k] and b [k, n] are contiguous or transposes of contiguous matrices, c [m, n] is contiguous.
  virtual void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) = 0;
  // c += a b.
  virtual void multiply_add(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) = 0;

  // u = (x - mean) / sqrt(variance + 1e-6) * weight + bias, per row. statistics: [2, rows], mean and 1 / deviation.
  virtual void layer_norm(const at::Tensor& x, const LayerParameters& norm, const at::Tensor& u,
                          const at::Tensor& statistics) = 0;
  struct LayerNormGradient {
    const at::Tensor& x;
    const at::Tensor& statistics;
    const at::Tensor& du;
    const at::Tensor& dx;  // added to
  };
  // Adds to gradient.dx and to the gradients of `norm`.
  virtual void layer_norm_backward(const LayerNormGradient& gradient, const LayerParameters& norm) = 0;

  // Chebyshev polynomials of the first kind of t = tanh(u), degree-major without T_0:
  // basis[r, (d - 1) * C + i] = T_d(t[r, i]) for d = 1..D; u [rows, C], basis [rows, D * C].
  virtual void chebyshev_basis(const at::Tensor& u, const at::Tensor& basis) = 0;
  // du[r, i] = sum_d dbasis[r, d, i] q_d with q_d = d (T_{d-1} - t T_d) = (1 - t^2) dT_d/dt, t = T_1.
  virtual void chebyshev_backward(const at::Tensor& basis, const at::Tensor& dbasis, const at::Tensor& du) = 0;
  // packed[(d - 1) * in + i, o] = coefficients[i, o, d]; bias[o] = sum_i coefficients[i, o, 0].
  virtual void pack_coefficients(const at::Tensor& coefficients, const at::Tensor& packed, const at::Tensor& bias) = 0;
  // The way back for gradients: adds dpacked, here [out, D * in], and dbias to `gradient` [in, out, D + 1].
  virtual void add_coefficient_gradient(const at::Tensor& dpacked, const at::Tensor& dbias,
                                        const at::Tensor& gradient) = 0;

  // Causal attention. qkv [rows, 3 * features]: queries, keys, values, each head by head.
  struct AttentionResult {
    const at::Tensor& context;   // [rows, features]
    const at::Tensor& log_sums;  // [batch, heads, time], for attention_backward of the same implementation alone
  };
  virtual void attention(const at::Tensor& qkv, SequenceShape shape, HeadShape heads,
                         const AttentionResult& result) = 0;
  struct AttentionGradient {
    const at::Tensor& qkv;
    const AttentionResult& result;
    const at::Tensor& dcontext;
    const at::Tensor& dqkv;
  };
  virtual void attention_backward(const AttentionGradient& gradient, SequenceShape shape, HeadShape heads) = 0;

  // GELU in its tanh form (Hendrycks and Gimpel, 2016): 0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))).
  virtual void gelu(const at::Tensor& z, const at::Tensor& activation) = 0;
  // In place: gradient with respect to the activation -> with respect to z.
  virtual void gelu_backward(const at::Tensor& z, const at::Tensor& gradient) = 0;

  // out = values * scale, or 0 where an element is left out; [rows, channels], `out` may be `values`. The same bits
  // from every implementation.
  virtual void drop(const at::Tensor& values, const Dropout& dropout, const at::Tensor& out) = 0;

  // sums[c] += sum over rows of matrix[r, c], in a fixed order.
  virtual void add_column_sums(const at::Tensor& matrix, const at::Tensor& sums) = 0;

  // x[r] = token_embedding[ids[r]] + position_embedding[r % time].
  virtual void embed(const at::Tensor& ids, const at::Tensor& token_embedding, const at::Tensor& position_embedding,
                     const at::Tensor& x) = 0;
  // Adds dx to the gradients of both embeddings, in a fixed order.
  virtual void embed_backward(const TokenRows& tokens, const at::Tensor& dx, const at::Tensor& token_gradient,
                              const at::Tensor& position_gradient) = 0;

  // Softmax cross-entropy of x [rows, C] against the logits x head^T, head [V, C], which never exist as a whole.
  virtual LossSum head_loss(const at::Tensor& x, const at::Tensor& head, const LossTargets& targets) = 0;
  // The same, and in the same sweep the gradients of the loss sum: dx is written, head.gradient is added to. The loss
  // comes to the host behind what the device has still to do.
  virtual QueuedLoss head_loss_and_gradient(const at::Tensor& x, const Parameter& head, const LossTargets& targets,
                                            const at::Tensor& dx) = 0;

  // Whole residuals in fewer passes than their steps above, from the ChebyKAN coefficients or the projections on; null:
  // there are none. The parameters have to outlive them.
  virtual std::unique_ptr<FusedResidual> make_kan_residual(const LayerParameters& /*norm*/,
                                                           const Parameter& /*coefficients*/) {
    return nullptr;
  }
  virtual std::unique_ptr<FusedResidual> make_attention_residual(const LayerParameters& /*norm*/,
                                                                 const AttentionParameters& /*parameters*/,
                                                                 HeadShape /*heads*/) {
    return nullptr;
  }
  // Before a forward pass: whatever residuals keep of the weights is out of date.
  virtual void take_weights() {}
  // Behind a backward pass of residuals: now all of their gradients are added.
  virtual void finish_backward() {}
};

// Whose operations a network computes with.
enum class Kernels { kCpu, kAten, kCuda };
// The fastest for `device` that this program has.
Kernels kernels_of(const at::Device& device);

// BF16: products of fp32 tensors, those of the head among them, round their operands to bfloat16 and sum in fp32.
// LibTorch's own operators on any device: what a GPU runs, and a second opinion for the tests of the others.
std::unique_ptr<Operations> make_aten_operations(config::Precision precision);
// Own kernels for GPUs, where they save launches or passes over memory, LibTorch's operators for the rest; fp32 tensors
// alone. Defined where the kernels are: in what a worker for GPUs links, and for the CPU in the tests' emulator.
std::unique_ptr<Operations> make_cuda_operations(config::Precision precision);
// Fused loops and cache-sized matrix products for the CPU. REQUIRES for BF16: base::bfloat16_products() is not kNone.
std::unique_ptr<Operations> make_cpu_operations(config::Precision precision);
// BF16 by kernels of the CPU, on a processor without instructions for it, is computed as FP32.
std::unique_ptr<Operations> make_operations(Kernels kernels, config::Precision precision);
// From here on there are those of Kernels::kCuda: a program that has them says so before its first network. Defined
// where they are.
void use_cuda_operations();

}  // namespace kangpt::operations
