// The sum of a rank's own gradients, logical shard by logical shard.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kangpt::sharding {

// Sums a rank's gradients, one logical shard after the other, in the aligned binary tree: a binary counter of
// log2(count) buffers. Owns the buffers; reuses them from step to step. Not thread-safe.
class GradientTree {
 public:
  // `count` logical shards a step, a power of two, of `size` elements each.
  GradientTree(int count, std::uint64_t size);

  // Call `count` times with the gradient of the next shard in `gradient`, of `size` elements. The last call leaves the
  // sum there, the others leave zeros.
  void add(std::span<float> gradient);

 private:
  int count_;
  int added_ = 0;
  std::vector<std::vector<float>> levels_;
};

}  // namespace kangpt::sharding
