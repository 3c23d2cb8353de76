// The steps of the convolutional mixers that are no plain matrix product; one implementation a kind of device.
#pragma once

#include <cstdint>
#include <memory>

#include "operations/operations.hpp"
#include "operations/parameter_views.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// Where the taps of a depthwise convolution lie: tap k is k * dilation positions back.
struct Taps {
  SequenceShape shape;
  std::int64_t dilation = 1;
};

// Where those of a deformable one lie. Each of the `groups` equal ranges of channels moves its taps alike.
struct DeformableTaps {
  SequenceShape shape;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  double max_offset = 0;  // positions back
};

// May own scratch memory that it reuses; not thread-safe. Tensors as in Operations: contiguous, of one floating dtype;
// activations [rows, channels]; a layer's weight is [channels, taps], its bias [channels]. Positions before the
// beginning of a sequence count as 0. Same input, same bits, whatever the number of threads; a row depends on the rows
// of its sequence up to it. "Adds" means accumulation, all other results are written.
class Convolutions {
 public:
  virtual ~Convolutions() = default;

  // y[t, c] = bias[c] + sum_k weight[c, k] u[t - k * dilation, c].
  virtual void depthwise(const at::Tensor& u, const LayerParameters& layer, Taps taps, const at::Tensor& y) = 0;
  struct DepthwiseGradient {
    const at::Tensor& u;
    const at::Tensor& dy;
    const at::Tensor& du;
  };
  // Writes gradient.du and adds to the gradients of `layer`.
  virtual void depthwise_backward(const DepthwiseGradient& gradient, const LayerParameters& layer, Taps taps) = 0;

  // Depthwise convolution at learnt, fractional positions (after Dai et al., Deformable Convolutional Networks, 2017;
  // Zhu et al., v2, 2019), here never ahead of the present token:
  //   y[t, c] = bias[c] + sum_k weight[c, k] m[t, g, k] ((1 - a) u[t - D, c] + a u[t - D + 1, c]),
  //   delta = clamp(k * dilation + max_offset * tanh(o[t, g, k]), 0, max_offset), D = max(1, ceil(delta)),
  //   a = D - delta, m = 2 sigmoid(z[t, g, k]), g the group of channel c.
  struct Deformable {
    const at::Tensor& u;
    // [rows, 2 * groups * taps]: on entry o, then z, group by group; on return tanh(o), then m.
    const at::Tensor& offsets;
    const at::Tensor& y;
  };
  virtual void deformable(const Deformable& arguments, const LayerParameters& layer, const DeformableTaps& taps) = 0;
  struct DeformableGradient {
    const at::Tensor& u;
    const at::Tensor& offsets;  // as deformable() left them
    const at::Tensor& dy;
    const at::Tensor& doffsets;  // with respect to o and z
    const at::Tensor& du;
  };
  // Writes gradient.doffsets and gradient.du and adds to the gradients of `layer`. Where delta is whole, y has a kink
  // in it; the slope taken is that of smaller delta (of greater delta at 0), and the clamp lets it pass at both its
  // ends.
  virtual void deformable_backward(const DeformableGradient& gradient, const LayerParameters& layer,
                                   const DeformableTaps& taps) = 0;
};

// LibTorch's own operators on any device. Memory of the deformable one grows with the square of the time.
std::unique_ptr<Convolutions> make_aten_convolutions();
// Vectorised loops for the CPU, one sequence a thread at a time.
std::unique_ptr<Convolutions> make_cpu_convolutions();
std::unique_ptr<Convolutions> make_convolutions(Kernels kernels);

}  // namespace kangpt::operations
