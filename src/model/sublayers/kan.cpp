#include "model/sublayers/kan.hpp"

#include <utility>

namespace kangpt::model {

using Slot = Scratch::Slot;

ChebyKan::ChebyKan(Parameter coefficients, SublayerTools tools)
    : coefficients_(std::move(coefficients)), tools_(tools) {}

void ChebyKan::forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept&) {
  const std::int64_t outputs = coefficients_.value.size(1);
  const at::Tensor& packed = tools_.scratch.take(Slot::kWeight, {basis_size(), outputs});
  const at::Tensor& bias = tools_.scratch.take(Slot::kBias, {outputs});
  tools_.operations.pack_coefficients(coefficients_.value, packed, bias);
  forward_packed(u, x, out, packed, bias);
}

void ChebyKan::forward_packed(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const at::Tensor& packed,
                              const at::Tensor& bias) {
  const at::Tensor& basis = tools_.scratch.take(Slot::kWide, {u.size(0), basis_size()});
  tools_.operations.chebyshev_basis(u, basis);
  at::Tensor sum = out;
  at::add_out(sum, x, bias);
  tools_.operations.multiply_add(basis, packed, out);
}

std::vector<at::Tensor> ChebyKan::step_weights() const {
  const std::int64_t outputs = coefficients_.value.size(1);
  const at::Tensor packed = at::empty({basis_size(), outputs}, coefficients_.value.options());
  const at::Tensor bias = at::empty({outputs}, packed.options());
  tools_.operations.pack_coefficients(coefficients_.value, packed, bias);
  return {packed, bias};
}

void ChebyKan::step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows&, const Past& past) {
  forward_packed(u, x, out, past.weight(0), past.weight(1));
}

void ChebyKan::backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept&) {
  const std::int64_t outputs = coefficients_.value.size(1);
  const at::Tensor& packed = tools_.scratch.take(Slot::kWeight, {basis_size(), outputs});
  const at::Tensor& dpacked = tools_.scratch.take(Slot::kWeightGradient, {outputs, basis_size()});
  const at::Tensor& bias = tools_.scratch.take(Slot::kBias, {outputs});
  const at::Tensor& basis = tools_.scratch.take(Slot::kWide, {u.size(0), basis_size()});
  const at::Tensor& dbasis = tools_.scratch.take(Slot::kWideGradient, {u.size(0), basis_size()});
  tools_.operations.pack_coefficients(coefficients_.value, packed, bias);
  tools_.operations.chebyshev_basis(u, basis);
  tools_.operations.multiply(dy, packed.t(), dbasis);
  tools_.operations.chebyshev_backward(basis, dbasis, du);
  tools_.operations.multiply(dy.t(), basis, dpacked);
  bias.zero_();
  tools_.operations.add_column_sums(dy, bias);
  tools_.operations.add_coefficient_gradient(dpacked, bias, coefficients_.gradient);
}

}  // namespace kangpt::model
