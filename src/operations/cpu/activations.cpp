#include "operations/activations.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "operations/cpu/activation_kernels.hpp"
#include "operations/cpu/kernels.hpp"
#include "operations/cpu/tensor_data.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations {
namespace {

using cpu::data;
using cpu::kDenominatorTerms;
using cpu::kNumeratorTerms;
using cpu::mutable_data;

class CpuActivations : public Activations {
 public:
  void chebyshev(const at::Tensor& u, const at::Tensor& coefficients, const at::Tensor& y) override {
    AT_DISPATCH_FLOATING_TYPES(u.scalar_type(), "chebyshev", [&] {
      for_each_block<scalar_t>(u, coefficients.size(0), [&](const Block<scalar_t>& block) {
        cpu::chebyshev_function(cpu::ChebyshevFunction<scalar_t>{
            block.at, data<scalar_t>(coefficients), mutable_data<scalar_t>(y) + block.first, coefficients.size(1)});
      });
    });
  }

  void chebyshev_backward(const FunctionGradient& gradient, const Parameter& coefficients) override {
    const std::int64_t groups = coefficients.value.size(0);
    const std::int64_t terms = coefficients.value.size(1);
    take_shares(gradient.u, groups * terms);
    AT_DISPATCH_FLOATING_TYPES(gradient.u.scalar_type(), "chebyshev_backward", [&] {
      for_each_block<scalar_t>(gradient.u, groups, [&](const Block<scalar_t>& block) {
        cpu::chebyshev_function_backward(cpu::ChebyshevFunctionBackward<scalar_t>{
            block.at, data<scalar_t>(coefficients.value), data<scalar_t>(gradient.dy) + block.first,
            mutable_data<scalar_t>(gradient.du) + block.first,
            mutable_data<scalar_t>(shares_) + block.index * shares_.size(1), terms});
      });
      add_shares<scalar_t>(0, coefficients.gradient);
    });
  }

  void rational(const at::Tensor& u, const RationalCoefficients& coefficients, const at::Tensor& y) override {
    AT_DISPATCH_FLOATING_TYPES(u.scalar_type(), "rational", [&] {
      for_each_block<scalar_t>(u, coefficients.numerator.value.size(0), [&](const Block<scalar_t>& block) {
        cpu::rational_function(cpu::RationalFunction<scalar_t>{block.at, data<scalar_t>(coefficients.numerator.value),
                                                               data<scalar_t>(coefficients.denominator.value),
                                                               mutable_data<scalar_t>(y) + block.first});
      });
    });
  }

  void rational_backward(const FunctionGradient& gradient, const RationalCoefficients& coefficients) override {
    const std::int64_t groups = coefficients.numerator.value.size(0);
    take_shares(gradient.u, groups * (kNumeratorTerms + kDenominatorTerms));
    AT_DISPATCH_FLOATING_TYPES(gradient.u.scalar_type(), "rational_backward", [&] {
      for_each_block<scalar_t>(gradient.u, groups, [&](const Block<scalar_t>& block) {
        scalar_t* share = mutable_data<scalar_t>(shares_) + block.index * shares_.size(1);
        cpu::rational_function_backward(cpu::RationalFunctionBackward<scalar_t>{
            block.at, data<scalar_t>(coefficients.numerator.value), data<scalar_t>(coefficients.denominator.value),
            data<scalar_t>(gradient.dy) + block.first, mutable_data<scalar_t>(gradient.du) + block.first, share,
            share + groups * kNumeratorTerms});
      });
      add_shares<scalar_t>(0, coefficients.numerator.gradient);
      add_shares<scalar_t>(groups * kNumeratorTerms, coefficients.denominator.gradient);
    });
  }

  void swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& activation) override {
    AT_DISPATCH_FLOATING_TYPES(gate.scalar_type(), "swiglu", [&] {
      at::parallel_for(0, gate.numel(), kGrainElements, [&](std::int64_t begin, std::int64_t end) {
        cpu::swiglu(cpu::Swiglu<scalar_t>{data<scalar_t>(gate) + begin, data<scalar_t>(up) + begin,
                                          mutable_data<scalar_t>(activation) + begin, end - begin});
      });
    });
  }

  void swiglu_backward(const SwigluGradient& gradient) override {
    AT_DISPATCH_FLOATING_TYPES(gradient.gate.scalar_type(), "swiglu_backward", [&] {
      at::parallel_for(0, gradient.gate.numel(), kGrainElements, [&](std::int64_t begin, std::int64_t end) {
        cpu::swiglu_backward(cpu::SwigluBackward<scalar_t>{
            data<scalar_t>(gradient.gate) + begin, data<scalar_t>(gradient.up) + begin,
            mutable_data<scalar_t>(gradient.dgate) + begin, mutable_data<scalar_t>(gradient.dup) + begin, end - begin});
      });
    });
  }

 private:
  static constexpr std::int64_t kBlockRows = 64;
  static constexpr std::int64_t kGrainElements = 1 << 14;

  // Rows that one call of a kernel takes. The blocks are the same for any number of threads.
  template <class T>
  struct Block {
    cpu::FunctionShape<T> at;
    std::int64_t index;
    std::int64_t first;  // element
  };

  static std::int64_t blocks_of(const at::Tensor& u) { return (u.size(0) + kBlockRows - 1) / kBlockRows; }

  // Calls body(block) for every block, on all threads.
  template <class T, class Body>
  static void for_each_block(const at::Tensor& u, std::int64_t groups, const Body& body) {
    const std::int64_t channels = u.size(1);
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / (kBlockRows * channels));
    at::parallel_for(0, blocks_of(u), grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t index = begin; index < end; ++index) {
        const std::int64_t row = index * kBlockRows;
        const std::int64_t rows = std::min(kBlockRows, u.size(0) - row);
        body({{data<T>(u) + row * channels, rows, channels, groups}, index, row * channels});
      }
    });
  }

  // Room for what each block adds to the gradients of the coefficients.
  void take_shares(const at::Tensor& u, std::int64_t coefficients) {
    reuse(shares_, {blocks_of(u), coefficients}, u.options());
  }

  // Adds the blocks' shares, from column `first` on, in order.
  template <class T>
  void add_shares(std::int64_t first, const at::Tensor& gradient) {
    cpu::add_column_sums(cpu::ColumnSums<T>{data<T>(shares_) + first, mutable_data<T>(gradient), shares_.size(0),
                                            gradient.numel(), shares_.size(1)});
  }

  at::Tensor shares_;  // [blocks, coefficients]
};

}  // namespace

std::unique_ptr<Activations> make_cpu_activations() {
  return std::make_unique<CpuActivations>();
}

}  // namespace kangpt::operations
