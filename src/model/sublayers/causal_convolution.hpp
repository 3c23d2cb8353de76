// The standard causal convolution over time, dilated or not.
#pragma once

#include "model/sublayers/sublayer.hpp"

namespace kangpt::model {

// y[t, o] = bias[o] + sum over inputs i and taps k of weight[o, i, k] u[t - k * dilation, i]: one matrix product of the
// rows that the taps meet, side by side, with the packed weight. Keeps nothing.
class CausalConvolution : public Sublayer {
 public:
  // weight: [out, in, taps] with in = out. Borrows `tools`.
  CausalConvolution(LayerParameters parameters, std::int64_t dilation, SublayerTools tools);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::int64_t past_features() const override { return channels(); }
  std::vector<at::Tensor> step_weights() const override;
  void remember(const at::Tensor& u, const Kept& kept, const at::Tensor& rows) const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  std::int64_t channels() const { return parameters_.weight.value.size(1); }
  std::int64_t taps() const { return parameters_.weight.value.size(2); }
  // columns[t, k * channels + i] = u[t - k * dilation, i].
  const at::Tensor& gather(const at::Tensor& u, SequenceShape shape);
  // The way back: du[t, i] = sum of dcolumns[t + k * dilation, k * channels + i] over the taps.
  void scatter(const at::Tensor& dcolumns, SequenceShape shape, const at::Tensor& du) const;

  LayerParameters parameters_;
  std::int64_t dilation_;
  SublayerTools tools_;
};

}  // namespace kangpt::model
