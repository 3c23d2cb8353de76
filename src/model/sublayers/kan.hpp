// ChebyKAN: a Kolmogorov-Arnold layer on Chebyshev polynomials (github.com/SynodicMonth/ChebyKAN).
#pragma once

#include "model/sublayers/sublayer.hpp"

namespace kangpt::model {

// y[o] = sum over inputs i and degrees d of T_d(tanh(u[i])) coefficients[i, o, d]: one matrix product of the
// degree-major basis with the packed coefficients; T_0 = 1 makes a bias. Keeps nothing: backward computes the basis
// anew.
class ChebyKan : public Sublayer {
 public:
  // coefficients: [in, out, degree + 1] with in = out. Borrows `tools`.
  ChebyKan(Parameter coefficients, SublayerTools tools);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;
  bool keeps_activations() const override { return false; }
  std::unique_ptr<FusedResidual> make_fused(const LayerParameters& norm) const override {
    return tools_.operations.make_kan_residual(norm, coefficients_);
  }

  std::vector<at::Tensor> step_weights() const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  // out = x + f(u) with the packed coefficients and the bias of T_0.
  void forward_packed(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const at::Tensor& packed,
                      const at::Tensor& bias);
  std::int64_t basis_size() const { return (coefficients_.value.size(2) - 1) * coefficients_.value.size(0); }

  Parameter coefficients_;
  SublayerTools tools_;
};

}  // namespace kangpt::model
