// Output projection and softmax cross-entropy in one sweep over tiles of the vocabulary.
#pragma once

#include <vector>

#include "config/run_config.hpp"
#include "operations/cpu/head_products.hpp"
#include "operations/operations.hpp"

namespace kangpt::operations::cpu {

// Takes the rows in chunks. For a chunk, a first sweep over tiles of the vocabulary computes logits, and turns them in
// cache into exp(logit - tile maximum) with maximum and sum of each tile; the tiles together give each row's
// log-sum-exp, and each tile's factor exp(tile maximum - log-sum-exp). A second sweep multiplies the exponentials into
// dx and, in the tile's own rows, into the head's gradient; the factors go to the smaller matrices there. Targets are
// left out of the exponentials and added apart, p - 1 without cancellation. Tiles are transposed, [vocabulary, rows],
// so that sums run along vector lanes. Every thread has its own tiles and its own share of dx; the shares are added in
// thread order. Owns its memory.
class HeadLoss {
 public:
  // BF16: matrix products of fp32 tensors in bfloat16.
  explicit HeadLoss(config::Precision precision) : precision_(precision) {}

  // Undefined `dx`: the loss alone.
  LossSum sweep(const at::Tensor& x, const Parameter& head, const LossTargets& targets, const at::Tensor& dx);

 private:
  template <class T>
  struct Chunk;
  template <class T, class Products>
  LossSum sweep_chunks(const Chunk<T>& whole, Products& products);
  template <class T, class Products>
  void first_sweep(const Chunk<T>& chunk, Products& products);
  template <class T>
  void combine(const Chunk<T>& chunk);
  template <class T, class Products>
  void second_sweep(const Chunk<T>& chunk, Products& products);

  config::Precision precision_;
  HeadProducts<float> products_;
  HeadProducts<double> double_products_;
  Bfloat16HeadProducts bfloat16_products_;
  at::Tensor maxima_;      // [tiles, rows]: of the logits, then each tile's factors
  at::Tensor sums_;        // [tiles, rows]
  at::Tensor row_values_;  // [4, rows]: target logit, log-sum-exp, mask, gradient of the target's logit
  std::vector<double> row_losses_;
  at::Tensor dx_shares_;  // [threads, channels, rows]
  at::Tensor scratch_;    // [threads, 2, channels, rows]
};

}  // namespace kangpt::operations::cpu
