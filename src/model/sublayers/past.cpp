#include "model/sublayers/past.hpp"

#include <utility>

namespace kangpt::model {

Past::Past(at::IntArrayRef texts_and_window, std::int64_t features, const at::TensorOptions& options,
           std::vector<at::Tensor> weights)
    : table_(at::zeros({texts_and_window[0], texts_and_window[1] + 1, features}, options)),
      weights_(std::move(weights)) {}

at::Tensor Past::beginning(std::int64_t text, std::int64_t time) const {
  return table_[text].narrow(0, 1, time);
}

at::Tensor Past::indices(const NewRows& rows, const at::Tensor& lags) const {
  std::vector<std::int64_t> one_a_row(static_cast<std::size_t>(lags.dim()), 1);
  one_a_row.front() = rows.text_ids.size(0);
  const at::Tensor places = rows.position_ids.view(one_a_row) + 1 - lags;
  return rows.text_ids.view(one_a_row) * table_.size(1) + places.clamp_min(0);
}

void Past::add(const NewRows& rows, const at::Tensor& values) const {
  const at::Tensor newest = rows.text_ids * table_.size(1) + rows.position_ids + 1;
  table_.view({-1, table_.size(2)}).index_copy_(0, newest, values);
}

at::Tensor Past::back(const NewRows& rows, const at::Tensor& lags) const {
  const at::Tensor found = table_.view({-1, table_.size(2)}).index_select(0, indices(rows, lags).flatten());
  return found.view({rows.text_ids.size(0), lags.size(1), table_.size(2)});
}

at::Tensor Past::back_by_group(const NewRows& rows, const at::Tensor& lags) const {
  const std::int64_t groups = lags.size(1);
  const at::Tensor group = at::arange(groups, lags.options()).view({1, groups, 1});
  const at::Tensor found =
      table_.view({-1, table_.size(2) / groups}).index_select(0, (indices(rows, lags) * groups + group).flatten());
  return found.view({lags.size(0), groups, lags.size(2), -1});
}

at::Tensor lags_of_taps(std::int64_t taps, std::int64_t dilation, const at::Device& device) {
  return (at::arange(taps, at::TensorOptions(device).dtype(at::kLong)) * dilation).unsqueeze(0);
}

at::Tensor depthwise_step(const operations::LayerParameters& layer, const at::Tensor& lags, const NewRows& rows,
                          const Past& past) {
  return (past.back(rows, lags) * layer.weight.value.t()).sum(1).add_(layer.bias.value);
}

}  // namespace kangpt::model
