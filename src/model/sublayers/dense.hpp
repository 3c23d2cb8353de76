// A dense layer, as the convolutional mixers use it.
#pragma once

#include "model/sublayers/sublayer.hpp"

namespace kangpt::model {

// y = u W^T + b, row by row.
class Dense {
 public:
  // Borrows `operations`.
  Dense(LayerParameters parameters, Operations& operations);

  std::int64_t outputs() const { return parameters_.weight.value.size(0); }
  // u [rows, inputs], y [rows, outputs].
  void forward(const at::Tensor& u, const at::Tensor& y) const;
  // out = x + u W^T + b; `out` may be `x`.
  void forward_onto(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out) const;
  // The same with the weight as [inputs, outputs], as product_weight() gives it: quicker for few rows.
  void forward(const at::Tensor& u, const at::Tensor& y, const at::Tensor& weight) const;
  void forward_onto(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const at::Tensor& weight) const;
  at::Tensor product_weight() const { return parameters_.weight.value.t().contiguous(); }
  // Adds to the gradients of the parameters.
  void add_gradients(const at::Tensor& u, const at::Tensor& dy) const;
  // du = dy W.
  void backward(const at::Tensor& dy, const at::Tensor& du) const;
  // du += dy W.
  void backward_add(const at::Tensor& dy, const at::Tensor& du) const;

 private:
  LayerParameters parameters_;
  Operations& operations_;
};

}  // namespace kangpt::model
