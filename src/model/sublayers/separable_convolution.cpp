#include "model/sublayers/separable_convolution.hpp"

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

std::vector<at::Tensor> SeparableConvolution::step_weights() const {
  const at::Tensor& weight = depthwise_.weight.value;
  return {pointwise_.product_weight(), lags_of_taps(weight.size(1), 1, weight.device())};
}

void SeparableConvolution::remember(const at::Tensor& u, const Kept& /*kept*/, const at::Tensor& rows) const {
  rows.copy_(u);
}

void SeparableConvolution::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
                                const Past& past) {
  past.add(rows, u);
  pointwise_.forward_onto(depthwise_step(depthwise_, past.weight(1), rows, past), x, out, past.weight(0));
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
