#include "operations/scratch.hpp"

namespace kangpt::operations {

Scratch::Scratch(at::TensorOptions options) {
  for (at::Tensor& tensor : tensors_) tensor = at::empty({0}, options);
}

const at::Tensor& Scratch::take(Slot slot, at::IntArrayRef sizes) {
  return tensors_[static_cast<std::size_t>(slot)].resize_(sizes);
}

void reuse(at::Tensor& tensor, at::IntArrayRef sizes, const at::TensorOptions& options) {
  if (!tensor.defined() || tensor.dtype() != options.dtype()) tensor = at::empty({0}, options);
  tensor.resize_(sizes);
}

}  // namespace kangpt::operations
