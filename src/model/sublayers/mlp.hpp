// The two-layer perceptron with GELU.
#pragma once

#include "model/sublayers/sublayer.hpp"

namespace kangpt::model {

// y = down(gelu(up(u))). Keeps the values before the activation, [rows, hidden].
class Mlp : public Sublayer {
 public:
  // Borrows `tools`.
  Mlp(LayerParameters up, LayerParameters down, SublayerTools tools);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::vector<at::Tensor> step_weights() const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  // Transposed: [inputs, outputs].
  struct ProductWeights {
    at::Tensor up;
    at::Tensor down;
  };
  struct Pass {
    const at::Tensor& u;
    const at::Tensor& x;
    const at::Tensor& out;
    const at::Tensor& hidden;  // becomes up(u)
  };
  void forward_with(const ProductWeights& weights, const Pass& pass);

  LayerParameters up_;
  LayerParameters down_;
  SublayerTools tools_;
};

}  // namespace kangpt::model
