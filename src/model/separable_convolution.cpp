#include "model/separable_convolution.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

SeparableConvolution::SeparableConvolution(Parameters parameters, SublayerTools tools, Convolutions& convolutions)
    : depthwise_(std::move(parameters.depthwise)),
      pointwise_(std::move(parameters.pointwise), tools.operations),
      scratch_(tools.scratch),
      convolutions_(convolutions) {}

void SeparableConvolution::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  const at::Tensor& filtered = scratch_.take(Slot::kWide, u.sizes());
  convolutions_.depthwise(u, depthwise_, {kept.shape}, filtered);
  pointwise_.forward_onto(filtered, x, out);
}

void SeparableConvolution::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const at::Tensor& filtered = scratch_.take(Slot::kWide, u.sizes());
  const at::Tensor& dfiltered = scratch_.take(Slot::kWideGradient, u.sizes());
  convolutions_.depthwise(u, depthwise_, {kept.shape}, filtered);
  pointwise_.add_gradients(filtered, dy);
  pointwise_.backward(dy, dfiltered);
  convolutions_.depthwise_backward({u, dfiltered, du}, depthwise_, {kept.shape});
}

}  // namespace kangpt::model
