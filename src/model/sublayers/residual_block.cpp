#include "model/sublayers/residual_block.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

ResidualBlock::ResidualBlock(LayerParameters norm, std::unique_ptr<Sublayer> sublayer, SublayerTools tools)
    : norm_(std::move(norm)), sublayer_(std::move(sublayer)), fused_(sublayer_->make_fused(norm_)), tools_(tools) {}

FusedResidual* ResidualBlock::fused(const Kept& kept) const {
  const bool can = fused_ != nullptr && kept.dropout.probability == 0 && fused_->fits(kept.shape);
  return can ? fused_.get() : nullptr;
}

const at::Tensor& ResidualBlock::normalise(const at::Tensor& x, Kept& kept) {
  reuse(kept.statistics, {2, x.size(0)}, x.options());
  const at::Tensor& u = tools_.scratch.take(Slot::kNormalised, x.sizes());
  tools_.operations.layer_norm(x, norm_, u, kept.statistics);
  return u;
}

void ResidualBlock::forward(const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  if (FusedResidual* const whole = fused(kept)) return whole->forward(x, out, kept.shape, kept);
  const at::Tensor& u = normalise(x, kept);
  if (kept.dropout.probability == 0) return sublayer_->forward(u, x, out, kept);
  const at::Tensor& branch = tools_.scratch.take(Slot::kBranch, x.sizes());
  branch.zero_();
  sublayer_->forward(u, branch, branch, kept);
  tools_.operations.drop(branch, kept.dropout, branch);
  at::Tensor sum = out;
  at::add_out(sum, x, branch);
}

void ResidualBlock::keep_again(const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  FusedResidual* const whole = fused(kept);
  if (whole != nullptr && sublayer_->keeps_activations()) return whole->forward(x, out, kept.shape, kept);
  const at::Tensor& u = normalise(x, kept);
  if (sublayer_->keeps_activations()) sublayer_->forward(u, x, out, kept);
}

Past ResidualBlock::make_past(std::int64_t texts, std::int64_t window) const {
  const at::TensorOptions options = norm_.weight.value.options();
  return {{texts, window}, sublayer_->past_features(), options, sublayer_->step_weights()};
}

void ResidualBlock::remember(const Kept& kept, const Past& past, std::int64_t text) const {
  const at::Tensor& u = tools_.scratch.take(Slot::kNormalised, {kept.shape.time, norm_.weight.value.size(0)});
  sublayer_->remember(u, kept, past.beginning(text, kept.shape.time));
}

void ResidualBlock::step(const at::Tensor& x, const NewRows& rows, const Past& past) {
  const at::Tensor& u = tools_.scratch.take(Slot::kNormalised, x.sizes());
  const at::Tensor statistics = at::empty({2, x.size(0)}, x.options());
  tools_.operations.layer_norm(x, norm_, u, statistics);
  sublayer_->step(u, x, x, rows, past);
}

void ResidualBlock::backward(const at::Tensor& x, StreamGradient& gradient, const Kept& kept) {
  if (FusedResidual* const whole = fused(kept)) return whole->backward(x, gradient, kept.shape, kept);
  gradient.is_copied = false;
  const at::Tensor& dx = gradient.values;
  const at::Tensor& u = tools_.scratch.take(Slot::kNormalised, x.sizes());
  const at::Tensor& du = tools_.scratch.take(Slot::kNormalisedGradient, x.sizes());
  tools_.operations.layer_norm(x, norm_, u, kept.statistics);
  if (kept.dropout.probability == 0) {
    sublayer_->backward(u, dx, du, kept);
  } else {
    const at::Tensor& branch_gradient = tools_.scratch.take(Slot::kBranch, dx.sizes());
    tools_.operations.drop(dx, kept.dropout, branch_gradient);
    sublayer_->backward(u, branch_gradient, du, kept);
  }
  tools_.operations.layer_norm_backward({x, kept.statistics, du, dx}, norm_);
}

}  // namespace kangpt::model
