// Products of matrices of the type that own kernels write for them.
#pragma once

#include "operations/torch_prefix.hpp"

namespace kangpt::operations::cuda {

// What becomes of the result's old value.
enum class Before { kReplaced, kAddedTo };

// c = a b, or c += a b, summed in fp32: of two matrices in fp32, c likewise; or of two in bfloat16, c in either.
void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, Before before = Before::kReplaced);

}  // namespace kangpt::operations::cuda
