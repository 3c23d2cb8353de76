// Causal attention as products of tiles of keys and queries, for long sequences and wide heads.
#pragma once

#include "operations/operations.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations::cpu {

// The order of FlashAttention-2 (Dao, 2023): a tile of scores goes from products through the softmax into products
// while it is in cache, and no matrix of scores exists. Bits don't depend on the number of threads. Owns its memory;
// not thread-safe. Activations
// are fp32 (or fp64) also where other products round to bfloat16.
class TiledAttention {
 public:
  // Whether this is faster than the kernels of kernels.hpp, by measurements.
  static bool is_faster(std::int64_t time, std::int64_t head_dim);

  // As Operations has them.
  void forward(const at::Tensor& qkv, SequenceShape shape, HeadShape heads, const Operations::AttentionResult& result);
  void backward(const Operations::AttentionGradient& gradient, SequenceShape shape, HeadShape heads);

 private:
  template <class Value>
  class Sweep;

  at::Tensor operands_;  // of products: packed queries, keys, values and gradients of some heads
  at::Tensor sums_;      // gradients of queries, and what each query's weights are computed with
  at::Tensor scratch_;   // each thread's
};

}  // namespace kangpt::operations::cpu
