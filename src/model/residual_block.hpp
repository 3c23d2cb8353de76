// One residual of the network: x + sublayer(LN(x)).
#pragma once

#include <memory>

#include "model/sublayer.hpp"

namespace kangpt::model {

class ResidualBlock {
 public:
  // Borrows `tools`.
  ResidualBlock(LayerParameters norm, std::unique_ptr<Sublayer> sublayer, SublayerTools tools);

  // x, out: [rows, channels]; `out` may be `x`, but then backward() can't follow. REQUIRES: kept.shape is set.
  void forward(const at::Tensor& x, const at::Tensor& out, Kept& kept);
  // dx: on entry the gradient with respect to forward()'s out, on return with respect to its x.
  void backward(const at::Tensor& x, const at::Tensor& dx, const Kept& kept);

 private:
  LayerParameters norm_;
  std::unique_ptr<Sublayer> sublayer_;
  SublayerTools tools_;
};

}  // namespace kangpt::model
