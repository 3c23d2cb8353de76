// What a sublayer remembers of texts that grow by a token at a time.
#pragma once

#include <vector>

#include "operations/parameter_views.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::model {

// The newest positions of some texts, one row each. The tensors hold the same as the vectors, on the network's device.
struct NewRows {
  std::vector<std::int64_t> texts;
  std::vector<std::int64_t> positions;  // from 0
  at::Tensor text_ids;
  at::Tensor position_ids;
};

// Rows of `features` numbers for every position of every text. What lies before the beginning of a text is 0.
class Past {
 public:
  // `weights`: what the sublayer multiplies single rows with, in the form that is quickest for it.
  Past(at::IntArrayRef texts_and_window, std::int64_t features, const at::TensorOptions& options,
       std::vector<at::Tensor> weights);

  const at::Tensor& weight(std::size_t index) const { return weights_[index]; }
  // The first positions of text `text`, [time, features], to be read or written.
  at::Tensor beginning(std::int64_t text, std::int64_t time) const;
  // Remembers `values` [rows, features].
  void add(const NewRows& rows, const at::Tensor& values) const;
  // The values `lags` positions back; lags: int64 [rows, n], or [1, n] for all rows. [rows, n, features]
  at::Tensor back(const NewRows& rows, const at::Tensor& lags) const;
  // The same where each of `groups` equal ranges of features has lags of its own: [rows, groups, n] ->
  // [rows, groups, n, features / groups].
  at::Tensor back_by_group(const NewRows& rows, const at::Tensor& lags) const;

 private:
  // Indices into the rows of table_, `lags` back and no further than the row of zeros. [rows, ...]
  at::Tensor indices(const NewRows& rows, const at::Tensor& lags) const;

  at::Tensor table_;  // [texts, 1 + window, features]; row 0 stays 0, row 1 is position 0
  std::vector<at::Tensor> weights_;
};

// Of the taps of a convolution, k * dilation each: [1, taps].
at::Tensor lags_of_taps(std::int64_t taps, std::int64_t dilation, const at::Device& device);

// A depthwise convolution at the newest positions: bias[c] + sum_k weight[c, k] past[-lags[k], c]. [rows, channels]
at::Tensor depthwise_step(const operations::LayerParameters& layer, const at::Tensor& lags, const NewRows& rows,
                          const Past& past);

}  // namespace kangpt::model
