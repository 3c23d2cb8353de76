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
  at::addmm_out(kept.first, up_.bias.value, u, up_.weight.value.t());
  tools_.operations.gelu(kept.first, activation);
  at::Tensor sum = out;
  at::add_out(sum, x, down_.bias.value);
  sum.addmm_(activation, down_.weight.value.t());
}

void Mlp::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const std::int64_t hidden = up_.weight.value.size(0);
  const at::Tensor& activation = tools_.scratch.take(Slot::kWide, {u.size(0), hidden});
  at::Tensor dz = tools_.scratch.take(Slot::kWideGradient, {u.size(0), hidden});
  tools_.operations.gelu(kept.first, activation);
  down_.weight.gradient.addmm_(dy.t(), activation);
  tools_.operations.add_column_sums(dy, down_.bias.gradient);
  at::mm_out(dz, dy, down_.weight.value);
  tools_.operations.gelu_backward(kept.first, dz);
  up_.weight.gradient.addmm_(dz.t(), u);
  tools_.operations.add_column_sums(dz, up_.bias.gradient);
  at::Tensor du_out = du;
  at::mm_out(du_out, dz, up_.weight.value);
}

}  // namespace kangpt::model
