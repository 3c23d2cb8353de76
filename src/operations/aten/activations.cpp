#include "operations/activations.hpp"

#include <utility>

namespace kangpt::operations {
namespace {

// [rows, channels] -> [rows, groups, channels of a group]
at::Tensor by_group(const at::Tensor& values, std::int64_t groups) {
  return values.view({values.size(0), groups, -1});
}

// Coefficient `index` of each group, against by_group().
at::Tensor coefficient(const at::Tensor& coefficients, std::int64_t index) {
  return coefficients.select(1, index).view({1, -1, 1});
}

// A polynomial and its derivative, by Horner's rule. `lowest`: the power of coefficient 0.
struct Polynomial {
  at::Tensor value;
  at::Tensor slope;
};
Polynomial polynomial(const at::Tensor& x, const at::Tensor& coefficients, std::int64_t lowest) {
  Polynomial p = {at::zeros_like(x), at::zeros_like(x)};
  for (std::int64_t power = coefficients.size(1) - 1 + lowest; power >= 0; --power) {
    p.slope.mul_(x).add_(p.value);
    p.value.mul_(x);
    if (power >= lowest) p.value.add_(coefficient(coefficients, power - lowest));
  }
  return p;
}

// Adds the sums over rows and channels of a group of values * x^power to each column of `gradient`.
void add_power_sums(const at::Tensor& values, const at::Tensor& x, std::int64_t lowest, const at::Tensor& gradient) {
  at::Tensor term = lowest == 0 ? values : values * x;
  for (std::int64_t index = 0; index < gradient.size(1); ++index) {
    gradient.select(1, index).add_(term.sum(at::IntArrayRef{0, 2}));
    term = term * x;
  }
}

class AtenActivations : public Activations {
 public:
  void chebyshev(const at::Tensor& u, const at::Tensor& coefficients, const at::Tensor& y) override {
    const at::Tensor t = by_group(at::tanh(u), coefficients.size(0));
    const at::Tensor sum = by_group(y, coefficients.size(0));
    sum.copy_(coefficient(coefficients, 0).expand_as(sum));
    at::Tensor previous = at::ones_like(t);
    at::Tensor current = t;
    for (std::int64_t d = 1; d < coefficients.size(1); ++d) {
      sum.addcmul_(current, coefficient(coefficients, d));
      at::Tensor next = 2 * t * current - previous;
      previous = std::exchange(current, std::move(next));
    }
  }

  void chebyshev_backward(const FunctionGradient& gradient, const Parameter& coefficients) override {
    const std::int64_t groups = coefficients.value.size(0);
    const at::Tensor t = by_group(at::tanh(gradient.u), groups);
    const at::Tensor dy = by_group(gradient.dy, groups);
    coefficients.gradient.select(1, 0).add_(dy.sum(at::IntArrayRef{0, 2}));
    at::Tensor slope = at::zeros_like(t);
    at::Tensor previous = at::ones_like(t);
    at::Tensor current = t;
    for (std::int64_t d = 1; d < coefficients.value.size(1); ++d) {
      coefficients.gradient.select(1, d).add_((dy * current).sum(at::IntArrayRef{0, 2}));
      slope.addcmul_(previous - t * current, static_cast<double>(d) * coefficient(coefficients.value, d));
      at::Tensor next = 2 * t * current - previous;
      previous = std::exchange(current, std::move(next));
    }
    by_group(gradient.du, groups).copy_(dy * slope);
  }

  void rational(const at::Tensor& u, const RationalCoefficients& coefficients, const at::Tensor& y) override {
    const std::int64_t groups = coefficients.numerator.value.size(0);
    const at::Tensor x = by_group(u, groups);
    const Polynomial p = polynomial(x, coefficients.numerator.value, 0);
    const Polynomial a = polynomial(x, coefficients.denominator.value, 1);
    by_group(y, groups).copy_(p.value / (1 + a.value.abs()));
  }

  void rational_backward(const FunctionGradient& gradient, const RationalCoefficients& coefficients) override {
    const std::int64_t groups = coefficients.numerator.value.size(0);
    const at::Tensor x = by_group(gradient.u, groups);
    const Polynomial p = polynomial(x, coefficients.numerator.value, 0);
    const Polynomial a = polynomial(x, coefficients.denominator.value, 1);
    const at::Tensor q = 1 + a.value.abs();
    const at::Tensor dp = by_group(gradient.dy, groups) / q;
    const at::Tensor da = -dp * p.value / q * at::where(a.value < 0, -1.0, 1.0).to(x.scalar_type());
    add_power_sums(dp, x, 0, coefficients.numerator.gradient);
    add_power_sums(da, x, 1, coefficients.denominator.gradient);
    by_group(gradient.du, groups).copy_(dp * p.slope + da * a.slope);
  }

  void swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& activation) override {
    at::Tensor out = activation;
    at::mul_out(out, at::silu(gate), up);
  }

  void swiglu_backward(const SwigluGradient& gradient) override {
    const at::Tensor sigmoid = at::sigmoid(gradient.gate);
    const at::Tensor silu = gradient.gate * sigmoid;
    const at::Tensor& dactivation = gradient.dup;
    gradient.dgate.copy_(dactivation * gradient.up * (sigmoid + silu * (1 - sigmoid)));
    gradient.dup.mul_(silu);
  }
};

}  // namespace

std::unique_ptr<Activations> make_aten_activations() {
  return std::make_unique<AtenActivations>();
}

}  // namespace kangpt::operations
