#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include "operations/convolutions.hpp"
#include "operations/cpu/convolution_kernels.hpp"
#include "operations/cpu/kernels.hpp"
#include "operations/cpu/tensor_data.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations {
namespace {

using cpu::data;
using cpu::mutable_data;

class CpuConvolutions : public Convolutions {
 public:
  void depthwise(const at::Tensor& u, const LayerParameters& layer, Taps taps, const at::Tensor& y) override {
    pack(layer);
    AT_DISPATCH_FLOATING_TYPES(u.scalar_type(), "depthwise", [&] {
      for_each_sequence(taps.shape, [&](std::int64_t sequence) {
        const std::int64_t begin = sequence * taps.shape.time * u.size(1);
        cpu::depthwise(cpu::Depthwise<scalar_t>{data<scalar_t>(u) + begin, data<scalar_t>(weight_),
                                                data<scalar_t>(layer.bias.value), mutable_data<scalar_t>(y) + begin,
                                                taps.shape.time, u.size(1), weight_.size(0), taps.dilation});
      });
    });
  }

  void depthwise_backward(const DepthwiseGradient& gradient, const LayerParameters& layer, Taps taps) override {
    const std::int64_t channels = gradient.u.size(1);
    pack(layer);
    take_shares(taps.shape.batch);
    AT_DISPATCH_FLOATING_TYPES(gradient.u.scalar_type(), "depthwise_backward", [&] {
      for_each_sequence(taps.shape, [&](std::int64_t sequence) {
        const std::int64_t begin = sequence * taps.shape.time * channels;
        scalar_t* share = mutable_data<scalar_t>(shares_) + sequence * shares_.size(1);
        cpu::depthwise_backward(cpu::DepthwiseBackward<scalar_t>{
            data<scalar_t>(gradient.u) + begin, data<scalar_t>(gradient.dy) + begin, data<scalar_t>(weight_),
            mutable_data<scalar_t>(gradient.du) + begin, share, share + weight_.numel(), taps.shape.time, channels,
            weight_.size(0), taps.dilation});
      });
    });
    add_shares(layer);
  }

  void deformable(const Deformable& arguments, const LayerParameters& layer, const DeformableTaps& taps) override {
    const std::int64_t channels = arguments.u.size(1);
    pack(layer);
    AT_DISPATCH_FLOATING_TYPES(arguments.u.scalar_type(), "deformable", [&] {
      for_each_sequence(taps.shape, [&](std::int64_t sequence) {
        const std::int64_t row = sequence * taps.shape.time;
        cpu::deformable(cpu::Deformable<scalar_t>{
            data<scalar_t>(arguments.u) + row * channels, data<scalar_t>(weight_), data<scalar_t>(layer.bias.value),
            mutable_data<scalar_t>(arguments.offsets) + row * arguments.offsets.size(1),
            mutable_data<scalar_t>(arguments.y) + row * channels, taps.shape.time, channels, taps.groups,
            weight_.size(0), taps.dilation, static_cast<scalar_t>(taps.max_offset)});
      });
    });
  }

  void deformable_backward(const DeformableGradient& gradient, const LayerParameters& layer,
                           const DeformableTaps& taps) override {
    const std::int64_t channels = gradient.u.size(1);
    const std::int64_t offsets = gradient.offsets.size(1);
    pack(layer);
    take_shares(taps.shape.batch);
    AT_DISPATCH_FLOATING_TYPES(gradient.u.scalar_type(), "deformable_backward", [&] {
      for_each_sequence(taps.shape, [&](std::int64_t sequence) {
        const std::int64_t row = sequence * taps.shape.time;
        scalar_t* share = mutable_data<scalar_t>(shares_) + sequence * shares_.size(1);
        cpu::deformable_backward(cpu::DeformableBackward<scalar_t>{
            data<scalar_t>(gradient.u) + row * channels, data<scalar_t>(weight_),
            data<scalar_t>(gradient.offsets) + row * offsets, data<scalar_t>(gradient.dy) + row * channels,
            mutable_data<scalar_t>(gradient.doffsets) + row * offsets,
            mutable_data<scalar_t>(gradient.du) + row * channels, share, share + weight_.numel(), taps.shape.time,
            channels, taps.groups, weight_.size(0), taps.dilation, static_cast<scalar_t>(taps.max_offset)});
      });
    });
    add_shares(layer);
  }

 private:
  template <class Body>
  static void for_each_sequence(SequenceShape shape, const Body& body) {
    at::parallel_for(0, shape.batch, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t sequence = begin; sequence < end; ++sequence) body(sequence);
    });
  }

  // weight_ = the layer's weight, tap-major.
  void pack(const LayerParameters& layer) {
    const at::Tensor& weight = layer.weight.value;
    reuse(weight_, {weight.size(1), weight.size(0)}, weight.options());
    weight_.copy_(weight.t());
  }

  // One share of the parameters' gradients a sequence: weight (tap-major), then bias.
  void take_shares(std::int64_t batch) {
    reuse(shares_, {batch, weight_.numel() + weight_.size(1)}, weight_.options());
  }
  void add_shares(const LayerParameters& layer) {
    reuse(sum_, {shares_.size(1)}, shares_.options());
    sum_.zero_();
    AT_DISPATCH_FLOATING_TYPES(sum_.scalar_type(), "add_shares", [&] {
      cpu::add_column_sums(cpu::ColumnSums<scalar_t>{data<scalar_t>(shares_), mutable_data<scalar_t>(sum_),
                                                     shares_.size(0), shares_.size(1), shares_.size(1)});
    });
    layer.weight.gradient.add_(sum_.narrow(0, 0, weight_.numel()).view(weight_.sizes()).t());
    layer.bias.gradient.add_(sum_.narrow(0, weight_.numel(), weight_.size(1)));
  }

  at::Tensor weight_;
  at::Tensor shares_;
  at::Tensor sum_;
};

}  // namespace

std::unique_ptr<Convolutions> make_cpu_convolutions() {
  return std::make_unique<CpuConvolutions>();
}

}  // namespace kangpt::operations
