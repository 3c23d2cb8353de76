// What stands inside a residual of the network: a mixer or a feed-forward part.
#pragma once

#include <array>
#include <memory>

#include "model/operations.hpp"
#include "model/torch_prefix.hpp"

namespace kangpt::model {

// Memory that one sublayer after the other uses and nobody keeps. Grows to the largest shape asked for and stays.
class Scratch {
 public:
  enum class Slot {
    kNormalised,
    kNormalisedGradient,
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

// What a sublayer's forward pass keeps for its backward pass.
struct Kept {
  SequenceShape shape;
  at::Tensor statistics;  // of the layer norm before the sublayer
  at::Tensor first;       // the sublayer's own
  at::Tensor second;
};

// A causal map of normalised activations. Owns no activation: `kept` and the scratch memory are the caller's.
class Sublayer {
 public:
  virtual ~Sublayer() = default;

  // out = x + f(u), all [rows, channels]; `out` may be `x`. REQUIRES: kept.shape is set.
  virtual void forward(const at::Tensor& u, const at::Tensor& x, const at::Tensor& out, Kept& kept) = 0;
  // From dy, the gradient with respect to f(u): writes du and adds to the gradients of the parameters.
  virtual void backward(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du, const Kept& kept) = 0;
};

// What every sublayer computes with.
struct SublayerTools {
  Operations& operations;
  Scratch& scratch;
};

}  // namespace kangpt::model
