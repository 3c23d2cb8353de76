#include "model/sublayers/mlp.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

Mlp::Mlp(LayerParameters up, LayerParameters down, SublayerTools tools)
    : up_(std::move(up)), down_(std::move(down)), tools_(tools) {}

void Mlp::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  reuse(kept.first, {u.size(0), up_.weight.value.size(0)}, u.options());
  forward_with({up_.weight.value.t(), down_.weight.value.t()}, {u, x, out, kept.first});
}

void Mlp::forward_with(const ProductWeights& weights, const Pass& pass) {
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, pass.hidden.sizes());
  pass.hidden.copy_(up_.bias.value.expand_as(pass.hidden));
  tools_.operations.multiply_add(pass.u, weights.up, pass.hidden);
  tools_.operations.gelu(pass.hidden, activation);
  at::Tensor sum = pass.out;
  at::add_out(sum, pass.x, down_.bias.value);
  tools_.operations.multiply_add(activation, weights.down, pass.out);
}

std::vector<at::Tensor> Mlp::step_weights() const {
  return {up_.weight.value.t().contiguous(), down_.weight.value.t().contiguous()};
}

void Mlp::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows&, const Past& past) {
  const at::Tensor hidden = at::empty({u.size(0), up_.weight.value.size(0)}, u.options());
  forward_with({past.weight(0), past.weight(1)}, {u, x, out, hidden});
}

void Mlp::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const std::int64_t hidden = up_.weight.value.size(0);
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, {u.size(0), hidden});
  const at::Tensor& dz = tools_.scratch.take(Slot::kWideGradient, {u.size(0), hidden});
  tools_.operations.gelu(kept.first, activation);
  tools_.operations.multiply_add(dy.t(), activation, down_.weight.gradient);
  tools_.operations.add_column_sums(dy, down_.bias.gradient);
  tools_.operations.multiply(dy, down_.weight.value, dz);
  tools_.operations.gelu_backward(kept.first, dz);
  tools_.operations.multiply_add(dz.t(), u, up_.weight.gradient);
  tools_.operations.add_column_sums(dz, up_.bias.gradient);
  tools_.operations.multiply(dz, up_.weight.value, du);
}

}  // namespace kangpt::model
