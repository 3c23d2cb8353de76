// Kolmogorov-Arnold layers whose functions groups of channels share: functions of single numbers, then dense products
// (Yang and Wang, Kolmogorov-Arnold Transformer, 2025).
#pragma once

#include <memory>

#include "model/sublayers/sublayer.hpp"
#include "operations/activations.hpp"

namespace kangpt::model {

// A learnt function of each number, the same for all channels of a group.
class GroupFunction {
 public:
  virtual ~GroupFunction() = default;

  // y = f(u), both [rows, channels].
  virtual void forward(const at::Tensor& u, const at::Tensor& y) const = 0;
  // Writes gradient.du and adds to the gradients of the coefficients.
  virtual void backward(const operations::Activations::FunctionGradient& gradient) const = 0;
};

// A sum of Chebyshev polynomials of tanh(u).
class ChebyshevFunction : public GroupFunction {
 public:
  // coefficients: [groups, degree + 1]. Borrows `activations`.
  ChebyshevFunction(Parameter coefficients, operations::Activations& activations);
  void forward(const at::Tensor& u, const at::Tensor& y) const override;
  void backward(const operations::Activations::FunctionGradient& gradient) const override;

 private:
  Parameter coefficients_;
  operations::Activations& activations_;
};

// A quotient of polynomials of order 5/4.
class RationalFunction : public GroupFunction {
 public:
  // Borrows `activations`.
  RationalFunction(operations::RationalCoefficients coefficients, operations::Activations& activations);
  void forward(const at::Tensor& u, const at::Tensor& y) const override;
  void backward(const operations::Activations::FunctionGradient& gradient) const override;

 private:
  operations::RationalCoefficients coefficients_;
  operations::Activations& activations_;
};

// y = down(hidden(up(input(u)))). Keeps the values before the hidden function, [rows, hidden].
class GroupKan : public Sublayer {
 public:
  struct Functions {
    std::unique_ptr<GroupFunction> input;
    std::unique_ptr<GroupFunction> hidden;
  };
  struct Layers {
    LayerParameters up;
    LayerParameters down;
  };

  // Borrows `tools`.
  GroupKan(Functions functions, Layers layers, SublayerTools tools);

  void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) override;
  void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) override;

  std::vector<at::Tensor> step_weights() const override;
  void step(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, const NewRows& rows,
            const Past& past) override;

 private:
  // Transposed: [inputs, outputs].
  struct ProductWeights {
    at::Tensor up;
    at::Tensor down;
  };
  struct Pass {
    const at::Tensor& u;
    const at::Tensor& x;
    const at::Tensor& out;
    const at::Tensor& hidden;  // becomes up(input(u))
  };
  void forward_with(const ProductWeights& weights, const Pass& pass);

  Functions functions_;
  Layers layers_;
  SublayerTools tools_;
};

}  // namespace kangpt::model
