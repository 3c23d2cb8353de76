// The elements that dropout leaves out, in LibTorch's own operators: the same as on the CPU, in every bit.
#pragma once

#include "operations/dropout.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// Draws the masks of all places at once and keeps them for the backward pass, since each operator has its price on a
// GPU. Not thread-safe.
class DropoutMasks {
 public:
  // Bool, of the shape of `values` [rows, channels] and on its device: true where an element is left out.
  at::Tensor left_out(const at::Tensor& values, const Dropout& dropout);

 private:
  Dropout drawn_;
  at::Tensor left_out_;  // [places, elements]
};

}  // namespace kangpt::operations
