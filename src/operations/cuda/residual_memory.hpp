// What fused residuals share: the weights as products take them, and memory that one after the other uses.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "operations/cuda/kernels.hpp"
#include "operations/cuda/tensors.hpp"
#include "operations/fused_residuals.hpp"

namespace kangpt::operations::cuda {

class ResidualMemory {
 public:
  explicit ResidualMemory(OperandType type) : type_(type) {}

  OperandType type() const { return type_; }
  at::ScalarType product_type() const { return type_ == OperandType::kBfloat16 ? at::kBFloat16 : at::kFloat; }

  // Each gives a number for weight(). REQUIRES: before the first take_weights().
  // Copies, below each other, of matrices that are equally wide.
  int add_matrices(const std::vector<at::Tensor>& matrices);
  // As Operations::pack_coefficients() gives them: [degree * inputs, outputs], and the bias [outputs] in fp32.
  int add_polynomials(const at::Tensor& coefficients);
  int add_constants(const at::Tensor& coefficients);
  // Fills them all with what the parameters hold now.
  void take_weights();
  const at::Tensor& weight(int number) const { return weights_[static_cast<std::size_t>(number)].taken; }

  // dx for products, copied here unless the residual behind has left its copy; valid until leave_copy().
  const at::Tensor& copy_of(const StreamGradient& dx);
  // The sums of dx's columns that came with the copy.
  GradientPart sums_of_copy(const at::Tensor& to) const;
  struct NormGradient {
    const at::Tensor& x;
    const at::Tensor& statistics;
    const at::Tensor& du;  // with a degree: the gradient of the basis
    std::int64_t degree = 0;
  };
  // layer_norm_backward(), which leaves a copy of the new dx for the residual before. Adds the norm's gradients to
  // `gradients`. REQUIRES: what reads the copy has been launched.
  void finish_gradient(const NormGradient& gradient, StreamGradient& dx, const LayerParameters& norm,
                       Gradients& gradients);

  // To be added with those of the next residual: what they come from has to stay until then, as the sums of both do.
  void keep_gradients(const Gradients& gradients) { kept_.add(gradients); }
  // Both with what was kept.
  void add_gradients(const Gradients& gradients);
  void add_kept_gradients();

  // Of one residual, until the next takes it.
  Reserve wide, wide_gradient, weight_gradient, feature_gradient, attention_sums;
  // Until the next KAN takes it.
  Reserve coefficient_gradient;

 private:
  struct Weight {
    std::vector<WeightJob> jobs;  // without `to`
    std::vector<std::int64_t> sizes;
    at::ScalarType type;
    at::Tensor taken;
  };

  int add(Weight weight);
  void place_weights();
  std::size_t next_sums() const { return (of_copy_ + 1) % sums_.size(); }
  at::Tensor& new_sums(std::int64_t rows, const at::Tensor& like);

  OperandType type_;
  std::vector<Weight> weights_;
  at::TensorOptions options_;  // of the weights
  at::Tensor jobs_;            // as bytes, where the weights are; of launch_
  Weights launch_ = {};
  Reserve copy_memory_;
  at::Tensor copy_;
  std::array<Reserve, 3> sums_memory_;  // of the copy, of the next one, and of one whose gradients are kept
  std::array<at::Tensor, 3> sums_;      // [blocks, 3, channels], as layer_norm_backward() leaves them
  std::size_t of_copy_ = 0;
  Gradients kept_;
};

// The norm's gradients from what layer_norm_backward() left: [blocks, 3, channels].
void add_norm_sums(const at::Tensor& sums, const LayerParameters& norm, Gradients& gradients);

}  // namespace kangpt::operations::cuda
