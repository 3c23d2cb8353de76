// Convolutional modulation (Hou et al., Conv2Former, 2022), causal.
#pragma once

#include "model/sublayers/dense.hpp"
#include "model/sublayers/sublayer.hpp"
#include "operations/convolutions.hpp"

namespace kangpt::model {

// y = output(depthwise(gelu(gate(u))) * value(u)). Keeps gate(u) and value(u).
class ConvolutionalModulation : public Sublayer {
 public:
  struct Parameters {
    LayerParameters gate;
    LayerParameters value;
    LayerParameters depthwise;  // weight [channels, taps]
    LayerParameters output;
  };
  // Borrows `tools` and `convolutions`.
  ConvolutionalModulation(Parameters parameters, SublayerTools tools, Convolutions& convolutions);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::int64_t past_features() const override { return depthwise_.weight.value.size(0); }
  std::vector<at::Tensor> step_weights() const override;
  void remember(const at::Tensor& u, const Kept& kept, const at::Tensor& rows) const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  Dense gate_;
  Dense value_;
  LayerParameters depthwise_;
  Dense output_;
  SublayerTools tools_;
  Convolutions& convolutions_;
};

}  // namespace kangpt::model
