#include "model/sublayers/convolutional_modulation.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

ConvolutionalModulation::ConvolutionalModulation(Parameters parameters, SublayerTools tools, Convolutions& convolutions)
    : gate_(std::move(parameters.gate), tools.operations),
      value_(std::move(parameters.value), tools.operations),
      depthwise_(std::move(parameters.depthwise)),
      output_(std::move(parameters.output), tools.operations),
      tools_(tools),
      convolutions_(convolutions) {}

void ConvolutionalModulation::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  reuse(kept.first, u.sizes(), u.options());
  reuse(kept.second, u.sizes(), u.options());
  const at::Tensor& wide = tools_.scratch.take(Slot::kWide, {2, u.size(0), u.size(1)});
  const at::Tensor activation = wide[0];
  const at::Tensor modulated = wide[1];
  gate_.forward(u, kept.first);
  value_.forward(u, kept.second);
  tools_.operations.gelu(kept.first, activation);
  convolutions_.depthwise(activation, depthwise_, {kept.shape}, modulated);
  modulated.mul_(kept.second);
  output_.forward_onto(modulated, x, out);
}

std::vector<at::Tensor> ConvolutionalModulation::step_weights() const {
  const at::Tensor& weight = depthwise_.weight.value;
  return {gate_.product_weight(), value_.product_weight(), output_.product_weight(),
          lags_of_taps(weight.size(1), 1, weight.device())};
}

// What the depthwise convolution reads.
void ConvolutionalModulation::remember(const at::Tensor& /*u*/, const Kept& kept, const at::Tensor& rows) const {
  tools_.operations.gelu(kept.first, rows);
}

void ConvolutionalModulation::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
                                   const Past& past) {
  const at::Tensor gate = at::empty_like(u), value = at::empty_like(u), activation = at::empty_like(u);
  gate_.forward(u, gate, past.weight(0));
  value_.forward(u, value, past.weight(1));
  tools_.operations.gelu(gate, activation);
  past.add(rows, activation);
  const at::Tensor modulated = depthwise_step(depthwise_, past.weight(3), rows, past).mul_(value);
  output_.forward_onto(modulated, x, out, past.weight(2));
}

void ConvolutionalModulation::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du,
                                       const Kept& kept) {
  const at::Tensor& wide = tools_.scratch.take(Slot::kWide, {3, u.size(0), u.size(1)});
  const at::Tensor& gradients = tools_.scratch.take(Slot::kWideGradient, {3, u.size(0), u.size(1)});
  const at::Tensor activation = wide[0];
  const at::Tensor filtered = wide[1];
  at::Tensor modulated = wide[2];
  const at::Tensor dvalue = gradients[0];
  at::Tensor dfiltered = gradients[1];
  const at::Tensor dgate = gradients[2];
  tools_.operations.gelu(kept.first, activation);
  convolutions_.depthwise(activation, depthwise_, {kept.shape}, filtered);
  at::mul_out(modulated, filtered, kept.second);
  output_.add_gradients(modulated, dy);
  output_.backward(dy, dvalue);  // by the product
  at::mul_out(dfiltered, dvalue, kept.second);
  dvalue.mul_(filtered);
  value_.add_gradients(u, dvalue);
  value_.backward(dvalue, du);
  convolutions_.depthwise_backward({activation, dfiltered, dgate}, depthwise_, {kept.shape});
  tools_.operations.gelu_backward(kept.first, dgate);
  gate_.add_gradients(u, dgate);
  gate_.backward_add(dgate, du);
}

}  // namespace kangpt::model
