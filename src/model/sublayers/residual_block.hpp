// One residual of the network: x + sublayer(LN(x)), in training with dropout of what the sublayer gives.
#pragma once

#include <memory>

#include "model/sublayers/sublayer.hpp"

namespace kangpt::model {

class ResidualBlock {
 public:
  // Borrows `tools`.
  ResidualBlock(LayerParameters norm, std::unique_ptr<Sublayer> sublayer, SublayerTools tools);

  // x, out: [rows, channels]; `out` may be `x`, but then backward() can't follow. REQUIRES: kept.shape is set.
  void forward(const at::Tensor& x, const at::Tensor& out, Kept& kept);
  // Leaves in `kept` what forward() of the same arguments leaves there; what it leaves in `out` is for nobody.
  void keep_again(const at::Tensor& x, const at::Tensor& out, Kept& kept);
  // For texts that grow: an empty past of `texts` texts of up to `window` positions.
  Past make_past(std::int64_t texts, std::int64_t window) const;
  // After forward() of one sequence, and before that of another block: puts it into the past as text `text`.
  void remember(const Kept& kept, const Past& past, std::int64_t text) const;
  // x + sublayer(LN(x)) for the newest positions, in place.
  void step(const at::Tensor& x, const NewRows& rows, const Past& past);
  // dx: on entry the gradient with respect to forward()'s out, on return with respect to its x.
  void backward(const at::Tensor& x, StreamGradient& dx, const Kept& kept);

 private:
  // The whole, where it can be had for this pass; else null.
  FusedResidual* fused(const Kept& kept) const;
  // LN(x), until the scratch memory is used again; its statistics are kept.
  const at::Tensor& normalise(const at::Tensor& x, Kept& kept);

  LayerParameters norm_;
  std::unique_ptr<Sublayer> sublayer_;
  std::unique_ptr<FusedResidual> fused_;  // or null
  SublayerTools tools_;
};

}  // namespace kangpt::model
