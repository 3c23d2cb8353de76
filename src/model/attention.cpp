#include "model/attention.hpp"

#include <array>
#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

Attention::Attention(Parameters parameters, HeadShape heads, SublayerTools tools)
    : parameters_(std::move(parameters)), heads_(heads), tools_(tools) {}

const at::Tensor& Attention::packed_weight() {
  const at::Tensor& query = parameters_.query.weight.value;
  const at::Tensor& packed = tools_.scratch.take(Slot::kWeight, {3 * heads_.features(), query.size(1)});
  packed.narrow(0, 0, heads_.features()).copy_(query);
  packed.narrow(0, heads_.features(), heads_.features()).copy_(parameters_.key.weight.value);
  packed.narrow(0, 2 * heads_.features(), heads_.features()).copy_(parameters_.value.weight.value);
  return packed;
}

void Attention::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) {
  reuse(kept.first, {u.size(0), 3 * heads_.features()}, u.options());
  reuse(kept.second, {u.size(0), heads_.features()}, u.options());
  at::Tensor bias = tools_.scratch.take(Slot::kBias, {3 * heads_.features()});
  at::cat_out(bias, {parameters_.query.bias.value, parameters_.key.bias.value, parameters_.value.bias.value});
  at::addmm_out(kept.first, bias, u, packed_weight().t());
  tools_.operations.attention(kept.first, kept.shape, heads_, kept.second);
  at::Tensor sum = out;
  at::add_out(sum, x, parameters_.output.bias.value);
  sum.addmm_(kept.second, parameters_.output.weight.value.t());
}

void Attention::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const std::int64_t features = heads_.features();
  at::Tensor dcontext = tools_.scratch.take(Slot::kWide, {u.size(0), features});
  at::Tensor dqkv = tools_.scratch.take(Slot::kWideGradient, {u.size(0), 3 * features});
  at::Tensor dweight = tools_.scratch.take(Slot::kWeightGradient, {3 * features, u.size(1)});
  at::Tensor dbias = tools_.scratch.take(Slot::kBias, {3 * features});
  parameters_.output.weight.gradient.addmm_(dy.t(), kept.second);
  tools_.operations.add_column_sums(dy, parameters_.output.bias.gradient);
  at::mm_out(dcontext, dy, parameters_.output.weight.value);
  tools_.operations.attention_backward({kept.first, kept.second, dcontext, dqkv}, kept.shape, heads_);
  at::mm_out(dweight, dqkv.t(), u);
  dbias.zero_();
  tools_.operations.add_column_sums(dqkv, dbias);
  const std::array<LayerParameters*, 3> projections = {&parameters_.query, &parameters_.key, &parameters_.value};
  for (std::size_t part = 0; part < projections.size(); ++part) {
    const std::int64_t begin = static_cast<std::int64_t>(part) * features;
    projections[part]->weight.gradient.add_(dweight.narrow(0, begin, features));
    projections[part]->bias.gradient.add_(dbias.narrow(0, begin, features));
  }
  at::Tensor du_out = du;
  at::mm_out(du_out, dqkv, packed_weight());
}

}  // namespace kangpt::model
