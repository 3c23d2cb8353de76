#include "operations/convolutions.hpp"

namespace kangpt::operations {
namespace {

// [rows, channels] -> [batch, time, channels]
at::Tensor by_time(const at::Tensor& rows, SequenceShape shape) {
  return rows.view({shape.batch, shape.time, -1});
}

// [rows, channels] -> [batch, groups, time, channels / groups]
at::Tensor by_group(const at::Tensor& rows, const DeformableTaps& taps) {
  return rows.view({taps.shape.batch, taps.shape.time, taps.groups, -1}).transpose(1, 2);
}

// Half 0 or 1 of offsets [rows, 2 * groups * taps] -> [batch, groups, time, taps]
at::Tensor offsets_half(const at::Tensor& offsets, std::int64_t half, const DeformableTaps& taps) {
  const std::int64_t count = offsets.size(1) / 2;
  return offsets.narrow(1, half * count, count)
      .view({taps.shape.batch, taps.shape.time, taps.groups, -1})
      .transpose(1, 2);
}

// One tap of a deformable convolution as matrices over time, so that no gradient has to be scattered.
struct TapMatrices {
  at::Tensor interpolation;  // [batch, groups, time, time]: row t holds the weights of u at all times
  at::Tensor slope;          // its derivative by a
  at::Tensor passes;         // [batch, groups, time]: 1 where the clamp lets the gradient pass, else 0
};

// squashed: tanh(o) of tap k, [batch, groups, time].
TapMatrices tap_matrices(const at::Tensor& squashed, std::int64_t k, const DeformableTaps& taps) {
  const at::Tensor wanted = squashed * taps.max_offset + static_cast<double>(k * taps.dilation);
  const at::Tensor delta = wanted.clamp(0, taps.max_offset).unsqueeze(3);
  const at::Tensor whole = delta.ceil().clamp_min(1);
  const at::Tensor times = at::arange(taps.shape.time, squashed.options());
  const at::Tensor lag = times.unsqueeze(1) - times;  // of the row's time behind the column's
  const at::Tensor earlier = lag.eq(whole).to(squashed.scalar_type());
  const at::Tensor later = lag.eq(whole - 1).to(squashed.scalar_type());
  const at::Tensor fraction = whole - delta;
  return {earlier * (1 - fraction) + later * fraction, later - earlier,
          wanted.ge(0).logical_and(wanted.le(taps.max_offset)).to(squashed.scalar_type())};
}

// Column k of a layer's weight -> [groups, 1, channels / groups]
at::Tensor tap_weight(const at::Tensor& weight, std::int64_t k, const DeformableTaps& taps) {
  return weight.select(1, k).view({taps.groups, 1, -1});
}

class AtenConvolutions : public Convolutions {
 public:
  void depthwise(const at::Tensor& u, const LayerParameters& layer, Taps taps, const at::Tensor& y) override {
    const at::Tensor input = by_time(u, taps.shape);
    const at::Tensor output = by_time(y, taps.shape);
    output.copy_(layer.bias.value.expand_as(output));
    for_each_tap(layer, taps, [&](std::int64_t k, std::int64_t back) {
      const std::int64_t length = taps.shape.time - back;
      output.narrow(1, back, length).add_(input.narrow(1, 0, length) * layer.weight.value.select(1, k));
    });
  }

  void depthwise_backward(const DepthwiseGradient& gradient, const LayerParameters& layer, Taps taps) override {
    const at::Tensor u = by_time(gradient.u, taps.shape);
    const at::Tensor dy = by_time(gradient.dy, taps.shape);
    const at::Tensor du = by_time(gradient.du, taps.shape).zero_();
    for_each_tap(layer, taps, [&](std::int64_t k, std::int64_t back) {
      const std::int64_t length = taps.shape.time - back;
      const at::Tensor later = dy.narrow(1, back, length);
      du.narrow(1, 0, length).add_(later * layer.weight.value.select(1, k));
      layer.weight.gradient.select(1, k).add_((later * u.narrow(1, 0, length)).sum(at::IntArrayRef{0, 1}));
    });
    layer.bias.gradient.add_(gradient.dy.sum(0));
  }

  void deformable(const Deformable& arguments, const LayerParameters& layer, const DeformableTaps& taps) override {
    const at::Tensor squashed = offsets_half(arguments.offsets, 0, taps).tanh_();
    const at::Tensor modulation = offsets_half(arguments.offsets, 1, taps).sigmoid_().mul_(2);
    const at::Tensor u = by_group(arguments.u, taps);
    const at::Tensor y = by_group(arguments.y, taps);
    arguments.y.copy_(layer.bias.value.expand_as(arguments.y));
    for (std::int64_t k = 0; k < layer.weight.value.size(1); ++k) {
      const TapMatrices tap = tap_matrices(squashed.select(3, k), k, taps);
      const at::Tensor weight = tap_weight(layer.weight.value, k, taps);
      y.add_(weight * modulation.narrow(3, k, 1) * tap.interpolation.matmul(u));
    }
  }

  void deformable_backward(const DeformableGradient& gradient, const LayerParameters& layer,
                           const DeformableTaps& taps) override {
    const at::Tensor squashed = offsets_half(gradient.offsets, 0, taps);
    const at::Tensor modulation = offsets_half(gradient.offsets, 1, taps);
    const at::Tensor u = by_group(gradient.u, taps);
    const at::Tensor dy = by_group(gradient.dy, taps);
    const at::Tensor du = by_group(gradient.du, taps).zero_();
    for (std::int64_t k = 0; k < layer.weight.value.size(1); ++k) {
      const TapMatrices tap = tap_matrices(squashed.select(3, k), k, taps);
      const at::Tensor m = modulation.narrow(3, k, 1);
      const at::Tensor dvalue = tap_weight(layer.weight.value, k, taps) * dy;  // by m and the value at the tap
      const at::Tensor value = tap.interpolation.matmul(u);
      du.add_(tap.interpolation.transpose(2, 3).matmul(dvalue * m));
      layer.weight.gradient.select(1, k).add_((dy * m * value).sum(at::IntArrayRef{0, 2}).view({-1}));
      const at::Tensor dfraction = (dvalue * tap.slope.matmul(u)).sum(3) * m.squeeze(3);
      const at::Tensor doffset = taps.max_offset * (1 - squashed.select(3, k).square()) * tap.passes;
      offsets_half(gradient.doffsets, 0, taps).select(3, k).copy_(-dfraction * doffset);
      const at::Tensor dm = (dvalue * value).sum(3);
      offsets_half(gradient.doffsets, 1, taps).select(3, k).copy_(dm * (0.5 * m * (2 - m)).squeeze(3));
    }
    layer.bias.gradient.add_(gradient.dy.sum(0));
  }

 private:
  // Calls body(tap, positions back) for each tap that lies within the sequence.
  template <class Body>
  static void for_each_tap(const LayerParameters& layer, Taps taps, const Body& body) {
    for (std::int64_t k = 0; k < layer.weight.value.size(1) && k * taps.dilation < taps.shape.time; ++k) {
      body(k, k * taps.dilation);
    }
  }
};

}  // namespace

std::unique_ptr<Convolutions> make_aten_convolutions() {
  return std::make_unique<AtenConvolutions>();
}

}  // namespace kangpt::operations
