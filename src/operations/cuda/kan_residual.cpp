#include "operations/cuda/products.hpp"
#include "operations/cuda/residuals.hpp"
#include "operations/operations.hpp"
#include "operations/scratch.hpp"

namespace kangpt::operations::cuda {
namespace {

// As model::ChebyKan: a kernel makes the basis of x at once, and another takes its gradient back through both. The
// basis is computed anew for the backward pass.
class KanResidual final : public FusedResidual {
 public:
  KanResidual(LayerParameters norm, Parameter coefficients, ResidualMemory& memory)
      : norm_(std::move(norm)),
        coefficients_(std::move(coefficients)),
        memory_(memory),
        weight_(memory.add_polynomials(coefficients_.value)),
        constants_(memory.add_constants(coefficients_.value)) {}

  bool fits(SequenceShape /*shape*/) const override { return true; }

  void forward(const at::Tensor& x, const at::Tensor& out, SequenceShape /*shape*/, KeptTensors& kept) override {
    reuse(kept.statistics, {2, x.size(0)}, x.options());
    LayerNorm a = basis_of(x, kept.statistics);
    a.out = written(out);
    a.out_bias = read(memory_.weight(constants_));
    layer_norm(a, stream_of(x));
    multiply(basis_, memory_.weight(weight_), out, Before::kAddedTo);
  }

  void backward(const at::Tensor& x, StreamGradient& dx, SequenceShape /*shape*/, const KeptTensors& kept) override {
    const std::int64_t outputs = coefficients_.value.size(1);
    memory_.add_kept_gradients();
    layer_norm(basis_of(x, kept.statistics), stream_of(x));
    const at::Tensor& dy = memory_.copy_of(dx);
    const at::Tensor dbasis = memory_.wide_gradient.take(basis_.sizes(), basis_.options());
    const at::Tensor dpacked = memory_.coefficient_gradient.take({outputs, basis_.size(1)}, x.options());
    multiply(dy, memory_.weight(weight_).t(), dbasis);
    multiply(dy.t(), basis_, dpacked);
    basis_.reset();
    Gradients gradients;
    add_coefficients(dpacked, gradients);
    memory_.finish_gradient({x, kept.statistics, dbasis, degree()}, dx, norm_, gradients);
    memory_.keep_gradients(gradients);
  }

 private:
  std::int64_t degree() const { return coefficients_.value.size(2) - 1; }

  LayerNorm basis_of(const at::Tensor& x, const at::Tensor& statistics) {
    basis_ = memory_.wide.take({x.size(0), degree() * x.size(1)}, x.options().dtype(memory_.product_type()));
    return {.x = read(x),
            .weight = read(norm_.weight.value),
            .bias = read(norm_.bias.value),
            .u = basis_.data_ptr(),
            .mean = written(statistics[0]),
            .deviation = written(statistics[1]),
            .rows = x.size(0),
            .channels = x.size(1),
            .epsilon = static_cast<float>(kLayerNormEpsilon),
            .type = memory_.type(),
            .degree = degree()};
  }

  void add_coefficients(const at::Tensor& dpacked, Gradients& gradients) const {
    GradientPart constants = memory_.sums_of_copy(coefficients_.gradient);
    constants.kind = GradientPart::kConstants;
    constants.inputs = coefficients_.value.size(0);
    constants.degree = degree();
    gradients.add(constants);
    gradients.add({.kind = GradientPart::kPolynomials,
                   .from = read(dpacked),
                   .to = written(coefficients_.gradient),
                   .columns = dpacked.size(0),
                   .inputs = constants.inputs,
                   .degree = degree()});
  }

  LayerParameters norm_;
  Parameter coefficients_;
  ResidualMemory& memory_;
  int weight_;
  int constants_;
  at::Tensor basis_;  // in memory that the next residual takes
};

}  // namespace

std::unique_ptr<FusedResidual> make_kan_residual(const LayerParameters& norm, const Parameter& coefficients,
                                                 ResidualMemory& memory) {
  if (!has_layer_norm(norm.weight.value.size(0))) return nullptr;
  return std::make_unique<KanResidual>(norm, coefficients, memory);
}

}  // namespace kangpt::operations::cuda
