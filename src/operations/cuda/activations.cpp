#include "operations/activations.hpp"

#include <memory>

#include "operations/cuda/kernels.hpp"
#include "operations/cuda/tensors.hpp"

namespace kangpt::operations {
namespace {

using cuda::GroupFunction;
using cuda::read;
using cuda::stream_of;
using cuda::written;

class CudaActivations final : public Activations {
 public:
  void chebyshev(const at::Tensor& u, const at::Tensor& coefficients, const at::Tensor& y) override {
    if (!cuda::has_chebyshev_function(coefficients.size(1))) return aten_->chebyshev(u, coefficients, y);
    cuda::chebyshev_function(forward(u, coefficients, y), stream_of(u));
  }

  void chebyshev_backward(const FunctionGradient& gradient, const Parameter& coefficients) override {
    if (!cuda::has_chebyshev_function(coefficients.value.size(1)))
      return aten_->chebyshev_backward(gradient, coefficients);
    GroupFunction a = backward(gradient, coefficients.value);
    const at::Tensor partials = take_partials(first_partials_, a, coefficients.value);
    a.first_partials = written(partials);
    cuda::chebyshev_function_backward(a, stream_of(gradient.u));
    add_up(partials, coefficients.gradient);
  }

  void rational(const at::Tensor& u, const RationalCoefficients& coefficients, const at::Tensor& y) override {
    GroupFunction a = forward(u, coefficients.numerator.value, y);
    add_denominator(a, coefficients);
    cuda::rational_function(a, stream_of(u));
  }

  void rational_backward(const FunctionGradient& gradient, const RationalCoefficients& coefficients) override {
    GroupFunction a = backward(gradient, coefficients.numerator.value);
    add_denominator(a, coefficients);
    const at::Tensor numerators = take_partials(first_partials_, a, coefficients.numerator.value);
    const at::Tensor denominators = take_partials(second_partials_, a, coefficients.denominator.value);
    a.first_partials = written(numerators);
    a.second_partials = written(denominators);
    cuda::rational_function_backward(a, stream_of(gradient.u));
    add_up(numerators, coefficients.numerator.gradient);
    add_up(denominators, coefficients.denominator.gradient);
  }

  void swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& activation) override {
    cuda::swiglu({read(gate), read(up), written(activation), gate.numel()}, stream_of(gate));
  }

  void swiglu_backward(const SwigluGradient& gradient) override {
    cuda::swiglu_backward(
        {read(gradient.gate), read(gradient.up), written(gradient.dgate), written(gradient.dup), gradient.gate.numel()},
        stream_of(gradient.gate));
  }

 private:
  static GroupFunction forward(const at::Tensor& u, const at::Tensor& first, const at::Tensor& y) {
    GroupFunction a = {};
    a.u = read(u);
    a.first = read(first);
    a.y = written(y);
    a.rows = u.size(0);
    a.channels = u.size(1);
    a.groups = first.size(0);
    a.first_terms = static_cast<int>(first.size(1));
    return a;
  }

  static GroupFunction backward(const FunctionGradient& gradient, const at::Tensor& first) {
    GroupFunction a = forward(gradient.u, first, gradient.du);
    a.dy = read(gradient.dy);
    return a;
  }

  static void add_denominator(GroupFunction& a, const RationalCoefficients& coefficients) {
    a.second = read(coefficients.denominator.value);
    a.second_terms = static_cast<int>(coefficients.denominator.value.size(1));
  }

  // [blocks, coefficients]
  static at::Tensor take_partials(cuda::Reserve& reserve, const GroupFunction& a, const at::Tensor& coefficients) {
    return reserve.take({cuda::group_function_blocks(a.rows), coefficients.numel()}, coefficients.options());
  }

  // Adds the blocks' shares to `gradient`, in their order.
  void add_up(const at::Tensor& partials, const at::Tensor& gradient) {
    const std::int64_t rows = partials.size(0), columns = partials.size(1);
    const at::Tensor scratch = scratch_.take({cuda::column_sum_partials(rows, columns)}, partials.options());
    cuda::add_column_sums({read(partials), written(scratch), written(gradient), rows, columns}, stream_of(partials));
  }

  std::unique_ptr<Activations> aten_ = make_aten_activations();
  cuda::Reserve first_partials_, second_partials_, scratch_;
};

}  // namespace

std::unique_ptr<Activations> make_cuda_activations() {
  return std::make_unique<CudaActivations>();
}

}  // namespace kangpt::operations
