#include "sharding/gradient_tree.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/tree_sum.hpp"

namespace kangpt::sharding {

GradientTree::GradientTree(int count, std::uint64_t size) : count_(count) {
  const int levels = std::countr_zero(static_cast<unsigned>(count));
  for (int level = 0; level < levels; ++level) levels_.emplace_back(size);
}

void GradientTree::add(std::span<float> gradient) {
  std::size_t level = 0;
  for (; ((added_ >> level) & 1) != 0; ++level) base::add_left(levels_[level], gradient);
  added_ = (added_ + 1) % count_;
  if (added_ != 0) std::copy(gradient.begin(), gradient.end(), levels_[level].begin());
}

}  // namespace kangpt::sharding
