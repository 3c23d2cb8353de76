#include "model/sublayers/deformable_convolution.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

DeformableConvolution::DeformableConvolution(Parameters parameters, DeformableTaps taps, SublayerTools tools,
                                             Convolutions& convolutions)
    : depthwise_(std::move(parameters.depthwise)),
      offset_depthwise_(std::move(parameters.offset_depthwise)),
      offset_pointwise_(std::move(parameters.offset_pointwise), tools.operations),
      pointwise_(std::move(parameters.pointwise), tools.operations),
      taps_(taps),
      scratch_(tools.scratch),
      convolutions_(convolutions) {}

DeformableTaps DeformableConvolution::taps_of(SequenceShape shape) const {
  DeformableTaps taps = taps_;
  taps.shape = shape;
  return taps;
}

void DeformableConvolution::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  reuse(kept.first, {u.size(0), offset_pointwise_.outputs()}, u.options());
  reuse(kept.second, u.sizes(), u.options());
  const at::Tensor& filtered = scratch_.take(Slot::kWide, u.sizes());
  convolutions_.depthwise(u, offset_depthwise_, {kept.shape, taps_.dilation}, filtered);
  offset_pointwise_.forward(filtered, kept.first);
  convolutions_.deformable({u, kept.first, kept.second}, depthwise_, taps_of(kept.shape));
  pointwise_.forward_onto(kept.second, x, out);
}

std::vector<at::Tensor> DeformableConvolution::step_weights() const {
  const at::Tensor& weight = depthwise_.weight.value;
  return {offset_pointwise_.product_weight(), pointwise_.product_weight(),
          lags_of_taps(weight.size(1), taps_.dilation, weight.device())};
}

void DeformableConvolution::remember(const at::Tensor& u, const Kept& /*kept*/, const at::Tensor& rows) const {
  rows.copy_(u);
}

// Convolutions::deformable at the newest positions, [rows, channels].
at::Tensor DeformableConvolution::sampled(const at::Tensor& offsets, const NewRows& rows, const Past& past) const {
  const at::Tensor halves = offsets.view({offsets.size(0), 2, taps_.groups, -1});  // o, then z: [rows, groups, taps]
  const at::Tensor wanted = halves.select(1, 0).tanh().mul_(taps_.max_offset).add_(past.weight(2));
  const at::Tensor delta = wanted.clamp(0, taps_.max_offset);
  const at::Tensor whole = delta.ceil().clamp_min(1);
  const at::Tensor fraction = (whole - delta).unsqueeze(3);
  const at::Tensor lags = whole.to(at::kLong);
  const at::Tensor modulation = (halves.select(1, 1).sigmoid() * 2).unsqueeze(3);
  const at::Tensor values =
      modulation * ((1 - fraction) * past.back_by_group(rows, lags) + fraction * past.back_by_group(rows, lags - 1));
  const at::Tensor& weight = depthwise_.weight.value;
  const at::Tensor by_tap = weight.view({taps_.groups, -1, weight.size(1)}).transpose(1, 2);
  return (values * by_tap).sum(2).view({offsets.size(0), -1}) + depthwise_.bias.value;
}

void DeformableConvolution::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
                                 const Past& past) {
  past.add(rows, u);
  const at::Tensor offsets = at::empty({u.size(0), offset_pointwise_.outputs()}, u.options());
  offset_pointwise_.forward(depthwise_step(offset_depthwise_, past.weight(2), rows, past), offsets, past.weight(0));
  pointwise_.forward_onto(sampled(offsets, rows, past), x, out, past.weight(1));
}

void DeformableConvolution::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du,
                                     const Kept& kept) {
  const at::Tensor& filtered = scratch_.take(Slot::kWide, u.sizes());
  const at::Tensor& gradients = scratch_.take(Slot::kWideGradient, {2, u.size(0), u.size(1)});
  const at::Tensor& doffsets = scratch_.take(Slot::kOffsetGradient, kept.first.sizes());
  const at::Tensor dsampled = gradients[0];
  pointwise_.add_gradients(kept.second, dy);
  pointwise_.backward(dy, dsampled);
  convolutions_.deformable_backward({u, kept.first, dsampled, doffsets, du}, depthwise_, taps_of(kept.shape));
  const Taps taps = {kept.shape, taps_.dilation};
  convolutions_.depthwise(u, offset_depthwise_, taps, filtered);
  offset_pointwise_.add_gradients(filtered, doffsets);
  const at::Tensor dfiltered = gradients[0];
  const at::Tensor du_of_offsets = gradients[1];
  offset_pointwise_.backward(doffsets, dfiltered);
  convolutions_.depthwise_backward({u, dfiltered, du_of_offsets}, offset_depthwise_, taps);
  du.add_(du_of_offsets);
}

}  // namespace kangpt::model
