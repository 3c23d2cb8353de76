#include "model/sublayers/dense.hpp"

#include <utility>

namespace kangpt::model {

Dense::Dense(LayerParameters parameters, Operations& operations)
    : parameters_(std::move(parameters)), operations_(operations) {}

void Dense::forward(const at::Tensor& u, const at::Tensor& y) const {
  forward(u, y, parameters_.weight.value.t());
}

void Dense::forward(const at::Tensor& u, const at::Tensor& y, const at::Tensor& weight) const {
  y.copy_(parameters_.bias.value.expand_as(y));
  operations_.multiply_add(u, weight, y);
}

void Dense::forward_onto(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out) const {
  forward_onto(u, x, out, parameters_.weight.value.t());
}

void Dense::forward_onto(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out,
                         const at::Tensor& weight) const {
  at::Tensor sum = out;
  at::add_out(sum, x, parameters_.bias.value);
  operations_.multiply_add(u, weight, out);
}

void Dense::add_gradients(const at::Tensor& u, const at::Tensor& dy) const {
  operations_.multiply_add(dy.t(), u, parameters_.weight.gradient);
  operations_.add_column_sums(dy, parameters_.bias.gradient);
}

void Dense::backward(const at::Tensor& dy, const at::Tensor& du) const {
  operations_.multiply(dy, parameters_.weight.value, du);
}

void Dense::backward_add(const at::Tensor& dy, const at::Tensor& du) const {
  operations_.multiply_add(dy, parameters_.weight.value, du);
}

}  // namespace kangpt::model
