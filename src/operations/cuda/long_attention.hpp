// Causal attention of sequences or heads that the own kernels are not made for, by LibTorch's kernels that keep no
// scores (FlashAttention-2: Dao, 2023; memory-efficient: Rabe and Staats, 2021).
#pragma once

#include "operations/operations.hpp"

namespace kangpt::operations::cuda {

// What is computed with: bfloat16, or the type of the tensors.
struct LongAttention {
  SequenceShape shape;
  HeadShape heads;
  at::ScalarType type;
};

// As Operations::attention(). Keeps nothing for the way back.
void long_attention(const at::Tensor& qkv, const LongAttention& how, const at::Tensor& context);
// As Operations::attention_backward(), of which it is computed anew. Gives the same bits each time where LibTorch is
// asked for deterministic operators.
void long_attention_backward(const at::Tensor& qkv, const LongAttention& how, const at::Tensor& dcontext,
                             const at::Tensor& dqkv);

}  // namespace kangpt::operations::cuda
