#include "base/tree_sum.hpp"

#include <cstddef>

#include "base/processor/vector_clones.hpp"

namespace kangpt::base {
namespace {

// Compiled for several instruction sets; a sum of two floats has the same bits in each.
KANGPT_VECTOR_CLONES void add(const float* left, float* target, std::uint64_t size) {
  for (std::uint64_t i = 0; i < size; ++i) target[i] = left[i] + target[i];
}

}  // namespace

double tree_sum(std::span<const double> terms) {
  if (terms.size() == 1) return terms[0];
  const std::size_t half = terms.size() / 2;
  return tree_sum(terms.first(half)) + tree_sum(terms.subspan(half));
}

void tree_sum(std::span<float* const> terms, std::uint64_t size) {
  for (std::size_t stride = 1; stride < terms.size(); stride *= 2) {
    for (std::size_t i = 0; i + stride < terms.size(); i += 2 * stride) add(terms[i + stride], terms[i], size);
  }
}

void add_left(std::span<const float> left, std::span<float> target) {
  add(left.data(), target.data(), target.size());
}

}  // namespace kangpt::base
