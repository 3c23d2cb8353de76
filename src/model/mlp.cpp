#include "model/mlp.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

Mlp::Mlp(LayerParameters up, LayerParameters down, SublayerTools tools)
    : up_(std::move(up)), down_(std::move(down)), tools_(tools) {}

void Mlp::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  const std::int64_t hidden = up_.weight.value.size(0);
  reuse(kept.first, {u.size(0), hidden}, u.options());
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, {u.size(0), hidden});
  kept.first.copy_(up_.bias.value.expand_as(kept.first));
  tools_.operations.multiply_add(u, up_.weight.value.t(), kept.first);
  tools_.operations.gelu(kept.first, activation);
  at::Tensor sum = out;
  at::add_out(sum, x, down_.bias.value);
  tools_.operations.multiply_add(activation, down_.weight.value.t(), out);
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
