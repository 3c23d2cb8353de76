// Depthwise, then pointwise convolution (Howard et al., MobileNets, 2017).
#pragma once

#include "model/sublayers/dense.hpp"
#include "model/sublayers/sublayer.hpp"
#include "operations/convolutions.hpp"

namespace kangpt::model {

// y = pointwise(depthwise(u)). Keeps nothing.
class SeparableConvolution : public Sublayer {
 public:
  struct Parameters {
    LayerParameters depthwise;  // weight [channels, taps]
    LayerParameters pointwise;
  };
  // Borrows `tools` and `convolutions`.
  SeparableConvolution(Parameters parameters, SublayerTools tools, Convolutions& convolutions);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::int64_t past_features() const override { return depthwise_.weight.value.size(0); }
  std::vector<at::Tensor> step_weights() const override;
  void remember(const at::Tensor& u, const Kept& kept, const at::Tensor& rows) const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  LayerParameters depthwise_;
  Dense pointwise_;
  Scratch& scratch_;
  Convolutions& convolutions_;
};

}  // namespace kangpt::model
