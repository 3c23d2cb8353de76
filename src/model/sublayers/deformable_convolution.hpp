// Causal convolution at positions that the input itself chooses.
#pragma once

#include "model/sublayers/dense.hpp"
#include "model/sublayers/sublayer.hpp"
#include "operations/convolutions.hpp"

namespace kangpt::model {

// y = pointwise(deformable(u; offsets)), offsets = offset_pointwise(offset_depthwise(u)); formula:
// Convolutions::deformable. Both depthwise convolutions have the layer's dilation. Where offset_pointwise is zero this
// is the separable convolution with the same taps.
// Keeps the squashed offsets [rows, 2 * groups * taps] and what the pointwise layer reads [rows, channels].
class DeformableConvolution : public Sublayer {
 public:
  struct Parameters {
    LayerParameters depthwise;         // weight [channels, taps]
    LayerParameters offset_depthwise;  // weight [channels, taps]
    LayerParameters offset_pointwise;  // weight [2 * groups * taps, channels]
    LayerParameters pointwise;
  };
  // `taps`: its shape is ignored. Borrows `tools` and `convolutions`.
  DeformableConvolution(Parameters parameters, DeformableTaps taps, SublayerTools tools, Convolutions& convolutions);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::int64_t past_features() const override { return depthwise_.weight.value.size(0); }
  std::vector<at::Tensor> step_weights() const override;
  void remember(const at::Tensor& u, const Kept& kept, const at::Tensor& rows) const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  DeformableTaps taps_of(SequenceShape shape) const;
  at::Tensor sampled(const at::Tensor& offsets, const NewRows& rows, const Past& past) const;

  LayerParameters depthwise_;
  LayerParameters offset_depthwise_;
  Dense offset_pointwise_;
  Dense pointwise_;
  DeformableTaps taps_;
  Scratch& scratch_;
  Convolutions& convolutions_;
};

}  // namespace kangpt::model
