#include "sharding/gradient_tree.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/tree_sum.hpp"

namespace kangpt::sharding {
namespace {

constexpr std::size_t kBlockElements = 4096;  // stays in the first-level cache from the first level to the last
constexpr std::int64_t kBlocksPerTask = 16;

}  // namespace

GradientTree::GradientTree(int count, std::uint64_t size) : count_(count) {
  const int levels = std::countr_zero(static_cast<unsigned>(count));
  for (int level = 0; level < levels; ++level) levels_.emplace_back(size);
}

void GradientTree::add(std::span<float> gradient) {
  const auto full_levels = static_cast<std::size_t>(std::countr_one(static_cast<unsigned>(added_)));
  added_ = (added_ + 1) % count_;
  const bool last = added_ == 0;
  const auto add_block = [&](std::size_t begin) {
    const std::span<float> block = gradient.subspan(begin, std::min(kBlockElements, gradient.size() - begin));
    for (std::size_t level = 0; level < full_levels; ++level)
      base::add_left(std::span<const float>(levels_[level]).subspan(begin, block.size()), block);
    if (last) return;
    std::copy(block.begin(), block.end(), levels_[full_levels].begin() + static_cast<std::ptrdiff_t>(begin));
    std::fill(block.begin(), block.end(), 0.0F);
  };
  const auto blocks = static_cast<std::int64_t>((gradient.size() + kBlockElements - 1) / kBlockElements);
  at::parallel_for(0, blocks, kBlocksPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) add_block(static_cast<std::size_t>(block) * kBlockElements);
  });
}

}  // namespace kangpt::sharding
