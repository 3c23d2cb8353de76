#include "model/sublayers/causal_convolution.hpp"

#include <algorithm>
#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

CausalConvolution::CausalConvolution(LayerParameters parameters, std::int64_t dilation, SublayerTools tools)
    : parameters_(std::move(parameters)), dilation_(dilation), tools_(tools) {}

const at::Tensor& CausalConvolution::gather(const at::Tensor& u, SequenceShape shape) {
  const at::Tensor& columns = tools_.scratch.take(Slot::kWide, {shape.rows(), taps() * channels()});
  const at::Tensor by_time = u.view({shape.batch, shape.time, channels()});
  const at::Tensor by_tap = columns.view({shape.batch, shape.time, taps(), channels()});
  for (std::int64_t k = 0; k < taps(); ++k) {
    const at::Tensor target = by_tap.select(2, k);
    const std::int64_t back = std::min(k * dilation_, shape.time);
    target.narrow(1, 0, back).zero_();
    target.narrow(1, back, shape.time - back).copy_(by_time.narrow(1, 0, shape.time - back));
  }
  return columns;
}

void CausalConvolution::scatter(const at::Tensor& dcolumns, SequenceShape shape, const at::Tensor& du) const {
  const at::Tensor by_tap = dcolumns.view({shape.batch, shape.time, taps(), channels()});
  const at::Tensor by_time = du.view({shape.batch, shape.time, channels()});
  by_time.copy_(by_tap.select(2, 0));
  for (std::int64_t k = 1; k < taps() && k * dilation_ < shape.time; ++k) {
    const std::int64_t length = shape.time - k * dilation_;
    by_time.narrow(1, 0, length).add_(by_tap.select(2, k).narrow(1, k * dilation_, length));
  }
}

void CausalConvolution::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  const at::Tensor& weight = parameters_.weight.value;
  const at::Tensor& packed = tools_.scratch.take(Slot::kWeight, {taps() * channels(), weight.size(0)});
  packed.view({taps(), channels(), weight.size(0)}).copy_(weight.permute({2, 1, 0}));
  const at::Tensor& columns = gather(u, kept.shape);
  at::Tensor sum = out;
  at::add_out(sum, x, parameters_.bias.value);
  tools_.operations.multiply_add(columns, packed, out);
}

std::vector<at::Tensor> CausalConvolution::step_weights() const {
  const at::Tensor& weight = parameters_.weight.value;
  return {weight.permute({2, 1, 0}).reshape({taps() * channels(), weight.size(0)}).contiguous(),
          lags_of_taps(taps(), dilation_, weight.device())};
}

void CausalConvolution::remember(const at::Tensor& u, const Kept& /*kept*/, const at::Tensor& rows) const {
  rows.copy_(u);
}

void CausalConvolution::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
                             const Past& past) {
  past.add(rows, u);
  at::Tensor sum = out;
  at::add_out(sum, x, parameters_.bias.value);
  tools_.operations.multiply_add(past.back(rows, past.weight(1)).view({u.size(0), -1}), past.weight(0), out);
}

void CausalConvolution::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const at::Tensor& weight = parameters_.weight.value;
  const at::Tensor& columns = gather(u, kept.shape);
  const at::Tensor& dpacked = tools_.scratch.take(Slot::kWeightGradient, {weight.size(0), taps() * channels()});
  tools_.operations.multiply(dy.t(), columns, dpacked);
  parameters_.weight.gradient.add_(dpacked.view({weight.size(0), taps(), channels()}).transpose(1, 2));
  tools_.operations.add_column_sums(dy, parameters_.bias.gradient);
  const at::Tensor& packed = tools_.scratch.take(Slot::kWeight, {weight.size(0), taps() * channels()});
  packed.view({weight.size(0), taps(), channels()}).copy_(weight.transpose(1, 2));
  const at::Tensor& dcolumns = tools_.scratch.take(Slot::kWideGradient, columns.sizes());
  tools_.operations.multiply(dy, packed, dcolumns);
  scatter(dcolumns, kept.shape, du);
}

}  // namespace kangpt::model
