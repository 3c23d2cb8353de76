// What feed-forward parts do between their matrix products, beyond GELU; one implementation a kind of device.
#pragma once

#include <cstdint>
#include <memory>

#include "operations/operations.hpp"
#include "operations/parameter_views.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// Coefficients of rational functions of order 5/4, a row for each group of channels.
struct RationalCoefficients {
  Parameter numerator;    // [groups, 6]: a_0 to a_5
  Parameter denominator;  // [groups, 4]: b_1 to b_4
};

// May own scratch memory that it reuses; not thread-safe. Tensors as in Operations; activations [rows, channels]. The
// groups of a learnt function are equal ranges of channels, as many as its coefficients have rows. Gradients of
// coefficients are summed in two stages, first over fixed blocks of rows, then over the blocks, never in the order in
// which threads come: same input, same bits, whatever their number.
class Activations {
 public:
  virtual ~Activations() = default;

  struct FunctionGradient {
    const at::Tensor& u;
    const at::Tensor& dy;
    const at::Tensor& du;  // may be dy
  };

  // y[r, c] = sum_d coefficients[g, d] T_d(tanh(u[r, c])), g the group of channel c, d from 0 to the degree, T_d the
  // Chebyshev polynomials of the first kind. coefficients: [groups, degree + 1].
  virtual void chebyshev(const at::Tensor& u, const at::Tensor& coefficients, const at::Tensor& y) = 0;
  // Writes gradient.du and adds to the gradient of the coefficients.
  virtual void chebyshev_backward(const FunctionGradient& gradient, const Parameter& coefficients) = 0;

  // y = P(u) / (1 + |A(u)|) with P(u) = a_0 + a_1 u + ... + a_5 u^5 and A(u) = b_1 u + ... + b_4 u^4, by group (Yang
  // and Wang, Kolmogorov-Arnold Transformer, 2025, equation 9; their published kernels take 1 + |b_1 u| + ... + |b_4
  // u^4| instead, which is the same where all b_i u^i have one sign). Overflows where |u| is beyond 1e7.
  virtual void rational(const at::Tensor& u, const RationalCoefficients& coefficients, const at::Tensor& y) = 0;
  // Likewise. The slope of |A| at A = 0 is taken as that of A, so that a denominator of zeros can learn.
  virtual void rational_backward(const FunctionGradient& gradient, const RationalCoefficients& coefficients) = 0;

  // activation = silu(gate) * up, silu(z) = z / (1 + exp(-z)) (Shazeer, GLU Variants Improve Transformer, 2020).
  virtual void swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& activation) = 0;
  struct SwigluGradient {
    const at::Tensor& gate;
    const at::Tensor& up;
    const at::Tensor& dgate;
    const at::Tensor& dup;  // on entry the gradient with respect to the activation
  };
  virtual void swiglu_backward(const SwigluGradient& gradient) = 0;
};

// LibTorch's own operators on any device.
std::unique_ptr<Activations> make_aten_activations();
// Vectorised loops for the CPU, a block of rows a thread at a time.
std::unique_ptr<Activations> make_cpu_activations();
// Own kernels for GPUs, fp32 tensors alone; defined where make_cuda_operations() is.
std::unique_ptr<Activations> make_cuda_activations();
std::unique_ptr<Activations> make_activations(Kernels kernels);

}  // namespace kangpt::operations
