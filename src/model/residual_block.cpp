#include "model/residual_block.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

ResidualBlock::ResidualBlock(LayerParameters norm, std::unique_ptr<Sublayer> sublayer, SublayerTools tools)
    : norm_(std::move(norm)), sublayer_(std::move(sublayer)), tools_(tools) {}

void ResidualBlock::forward(const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  reuse(kept.statistics, {2, x.size(0)}, x.options());
  const at::Tensor& u = tools_.scratch.take(Slot::kNormalised, x.sizes());
  tools_.operations.layer_norm(x, norm_, u, kept.statistics);
  sublayer_->forward(u, x, out, kept);
}

void ResidualBlock::backward(const at::Tensor& x, const at::Tensor& dx, const Kept& kept) {
  const at::Tensor& u = tools_.scratch.take(Slot::kNormalised, x.sizes());
  const at::Tensor& du = tools_.scratch.take(Slot::kNormalisedGradient, x.sizes());
  tools_.operations.layer_norm(x, norm_, u, kept.statistics);
  sublayer_->backward(u, dx, du, kept);
  tools_.operations.layer_norm_backward({x, kept.statistics, du, dx}, norm_);
}

}  // namespace kangpt::model
