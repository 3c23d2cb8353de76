#include "model/sublayers/group_kan.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

ChebyshevFunction::ChebyshevFunction(Parameter coefficients, operations::Activations& activations)
    : coefficients_(std::move(coefficients)), activations_(activations) {}

void ChebyshevFunction::forward(const at::Tensor& u, const at::Tensor& y) const {
  activations_.chebyshev(u, coefficients_.value, y);
}

void ChebyshevFunction::backward(const operations::Activations::FunctionGradient& gradient) const {
  activations_.chebyshev_backward(gradient, coefficients_);
}

RationalFunction::RationalFunction(operations::RationalCoefficients coefficients, operations::Activations& activations)
    : coefficients_(std::move(coefficients)), activations_(activations) {}

void RationalFunction::forward(const at::Tensor& u, const at::Tensor& y) const {
  activations_.rational(u, coefficients_, y);
}

void RationalFunction::backward(const operations::Activations::FunctionGradient& gradient) const {
  activations_.rational_backward(gradient, coefficients_);
}

GroupKan::GroupKan(Functions functions, Layers layers, SublayerTools tools)
    : functions_(std::move(functions)), layers_(std::move(layers)), tools_(tools) {}

void GroupKan::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  reuse(kept.first, {u.size(0), layers_.up.weight.value.size(0)}, u.options());
  forward_with({layers_.up.weight.value.t(), layers_.down.weight.value.t()}, {u, x, out, kept.first});
}

void GroupKan::forward_with(const ProductWeights& weights, const Pass& pass) {
  const at::Tensor& input = tools_.scratch.take(Slot::kWideGradient, pass.u.sizes());
  functions_.input->forward(pass.u, input);
  pass.hidden.copy_(layers_.up.bias.value.expand_as(pass.hidden));
  tools_.operations.multiply_add(input, weights.up, pass.hidden);
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, pass.hidden.sizes());
  functions_.hidden->forward(pass.hidden, activation);
  at::Tensor sum = pass.out;
  at::add_out(sum, pass.x, layers_.down.bias.value);
  tools_.operations.multiply_add(activation, weights.down, pass.out);
}

std::vector<at::Tensor> GroupKan::step_weights() const {
  return {layers_.up.weight.value.t().contiguous(), layers_.down.weight.value.t().contiguous()};
}

void GroupKan::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows&, const Past& past) {
  const at::Tensor hidden = at::empty({u.size(0), layers_.up.weight.value.size(0)}, u.options());
  forward_with({past.weight(0), past.weight(1)}, {u, x, out, hidden});
}

void GroupKan::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, kept.first.sizes());
  const at::Tensor& dhidden = tools_.scratch.take(Slot::kWideGradient, kept.first.sizes());
  functions_.hidden->forward(kept.first, activation);
  tools_.operations.multiply_add(dy.t(), activation, layers_.down.weight.gradient);
  tools_.operations.add_column_sums(dy, layers_.down.bias.gradient);
  tools_.operations.multiply(dy, layers_.down.weight.value, dhidden);
  functions_.hidden->backward({kept.first, dhidden, dhidden});
  const at::Tensor& input = tools_.scratch.take(Slot::kWide, u.sizes());  // the activation is no longer needed
  functions_.input->forward(u, input);
  tools_.operations.multiply_add(dhidden.t(), input, layers_.up.weight.gradient);
  tools_.operations.add_column_sums(dhidden, layers_.up.bias.gradient);
  tools_.operations.multiply(dhidden, layers_.up.weight.value, du);
  functions_.input->backward({u, du, du});
}

}  // namespace kangpt::model
