// Sums whose bits do not depend on how the terms are spread over ranks: the aligned binary tree.
#pragma once

#include <cstdint>
#include <span>

namespace kangpt::base {

// ((t0 + t1) + (t2 + t3)) + ... for a power of two of terms. A rank's own terms form a subtree, so summing ranks'
// results with the same function continues the tree. REQUIRES: terms.size() is a power of two.
double tree_sum(std::span<const double> terms);

// The same over whole buffers: terms[0] += terms[1] + ... in tree order; the other terms become unspecified.
// REQUIRES: terms.size() is a power of two, each has `size` elements.
void tree_sum(std::span<float* const> terms, std::uint64_t size);

// target[i] = left[i] + target[i]
void add_left(std::span<const float> left, std::span<float> target);

}  // namespace kangpt::base
