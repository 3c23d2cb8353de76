#include "model/sublayers/attention.hpp"

#include <array>
#include <cmath>
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
  kept.first.copy_(bias.expand_as(kept.first));
  tools_.operations.multiply_add(u, packed_weight().t(), kept.first);
  reuse(kept.third, {kept.shape.batch, heads_.heads, kept.shape.time}, u.options());
  tools_.operations.attention(kept.first, kept.shape, heads_, {kept.second, kept.third});
  at::Tensor sum = out;
  at::add_out(sum, x, parameters_.output.bias.value);
  tools_.operations.multiply_add(kept.second, parameters_.output.weight.value.t(), out);
}

std::vector<at::Tensor> Attention::step_weights() const {
  const Parameters& p = parameters_;
  const at::Tensor weight = at::cat({p.query.weight.value, p.key.weight.value, p.value.weight.value});
  const at::Tensor bias = at::cat({p.query.bias.value, p.key.bias.value, p.value.bias.value});
  return {weight.t().contiguous(), bias, p.output.weight.value.t().contiguous()};
}

// Keys and values.
void Attention::remember(const at::Tensor& /*u*/, const Kept& kept, const at::Tensor& rows) const {
  rows.copy_(kept.first.narrow(1, heads_.features(), 2 * heads_.features()));
}

// Text by text: so a text is the same whatever others grow beside it.
void Attention::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
                     const Past& past) {
  const std::int64_t features = heads_.features();
  const at::Tensor qkv = past.weight(1).repeat({u.size(0), 1});
  tools_.operations.multiply_add(u, past.weight(0), qkv);
  past.add(rows, qkv.narrow(1, features, 2 * features));
  const at::Tensor context = at::empty({u.size(0), features}, u.options());
  const double scale = 1 / std::sqrt(static_cast<double>(heads_.head_dim));
  for (std::size_t i = 0; i < rows.texts.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const at::Tensor seen =  // [time, 2, heads, head_dim]
        past.beginning(rows.texts[i], rows.positions[i] + 1).view({-1, 2, heads_.heads, heads_.head_dim});
    const at::Tensor query = qkv[row].narrow(0, 0, features).view({heads_.heads, 1, heads_.head_dim});
    const at::Tensor weights = (query.bmm(seen.select(1, 0).permute({1, 2, 0})) * scale).softmax(2);
    context[row].copy_(weights.bmm(seen.select(1, 1).transpose(0, 1)).view({-1}));
  }
  at::Tensor sum = out;
  at::add_out(sum, x, parameters_.output.bias.value);
  tools_.operations.multiply_add(context, past.weight(2), out);
}

void Attention::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) {
  const std::int64_t features = heads_.features();
  const at::Tensor& dcontext = tools_.scratch.take(Slot::kWide, {u.size(0), features});
  const at::Tensor& dqkv = tools_.scratch.take(Slot::kWideGradient, {u.size(0), 3 * features});
  const at::Tensor& dweight = tools_.scratch.take(Slot::kWeightGradient, {3 * features, u.size(1)});
  const at::Tensor& dbias = tools_.scratch.take(Slot::kBias, {3 * features});
  tools_.operations.multiply_add(dy.t(), kept.second, parameters_.output.weight.gradient);
  tools_.operations.add_column_sums(dy, parameters_.output.bias.gradient);
  tools_.operations.multiply(dy, parameters_.output.weight.value, dcontext);
  tools_.operations.attention_backward({kept.first, {kept.second, kept.third}, dcontext, dqkv}, kept.shape, heads_);
  tools_.operations.multiply(dqkv.t(), u, dweight);
  dbias.zero_();
  tools_.operations.add_column_sums(dqkv, dbias);
  const std::array<LayerParameters*, 3> projections = {&parameters_.query, &parameters_.key, &parameters_.value};
  for (std::size_t part = 0; part < projections.size(); ++part) {
    const std::int64_t begin = static_cast<std::int64_t>(part) * features;
    projections[part]->weight.gradient.add_(dweight.narrow(0, begin, features));
    projections[part]->bias.gradient.add_(dbias.narrow(0, begin, features));
  }
  tools_.operations.multiply(dqkv, packed_weight(), du);
}

}  // namespace kangpt::model
