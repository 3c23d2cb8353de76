// Memory that is used again from step to step.
#pragma once

#include <array>
#include <cstddef>

#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// Memory that one sublayer after the other uses and nobody keeps. Grows to the largest shape asked for and stays.
class Scratch {
 public:
  enum class Slot {
    kNormalised,
    kNormalisedGradient,
    kBranch,
    kWide,
    kWideGradient,
    kWeight,
    kWeightGradient,
    kBias,
    kOffsetGradient,
    kCount
  };

  explicit Scratch(at::TensorOptions options);
  // A tensor of shape `sizes` with unspecified content. Invalidates what the same slot gave before.
  const at::Tensor& take(Slot slot, at::IntArrayRef sizes);

 private:
  std::array<at::Tensor, static_cast<std::size_t>(Slot::kCount)> tensors_;
};

// Makes `tensor` a tensor of shape `sizes`, reusing its memory where that suffices.
void reuse(at::Tensor& tensor, at::IntArrayRef sizes, const at::TensorOptions& options);

}  // namespace kangpt::operations
