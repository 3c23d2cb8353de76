// Output projection and softmax cross-entropy in one sweep over tiles of the vocabulary.
#pragma once

#include <vector>

#include "model/operations.hpp"

namespace kangpt::model {

// Takes the rows in chunks. For a chunk, a first sweep over tiles of the vocabulary computes logits, and turns them in
// cache into exp(logit - tile maximum) with maximum and sum of each tile; the tiles together give each row's
// log-sum-exp. A second sweep rescales each tile to the gradient of its logits and multiplies it into dx and, in the
// tile's own rows, into the head's gradient. Tiles are transposed, [vocabulary, rows], so that sums run along vector
// lanes. Every thread has its own tiles and its own share of dx; the shares are added in thread order. Owns its memory.
class CpuHeadLoss {
 public:
  // Undefined `dx`: the loss alone.
  LossSum sweep(const at::Tensor& x, const Parameter& head, const LossTargets& targets, const at::Tensor& dx);

 private:
  template <class T>
  struct Chunk;
  template <class T>
  void first_sweep(const Chunk<T>& chunk);
  template <class T>
  void combine(const Chunk<T>& chunk);
  template <class T>
  void second_sweep(const Chunk<T>& chunk);

  at::Tensor exponentials_;  // [vocabulary, rows of a chunk]
  at::Tensor x_transposed_;  // [channels, rows]
  at::Tensor maxima_;        // [tiles, rows]
  at::Tensor sums_;          // [tiles, rows]
  at::Tensor row_values_;    // [4, rows]: target logit, log-sum-exp, mask, gradient of the target's logit
  std::vector<double> row_losses_;
  at::Tensor weight_copies_;  // [threads, channels, tile]
  at::Tensor dx_shares_;      // [threads, channels, rows]
};

}  // namespace kangpt::model
