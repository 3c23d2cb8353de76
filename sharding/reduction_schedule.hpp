// Who sends which ranges of the gradient to whom, round by round.
#pragma once

#include <cstdint>
#include <vector>

namespace kangpt::sharding {

enum class Schedule {
  kDirect,   // every rank sends each other rank its range; the receiver sums in tree order (TREE between CPUs)
  kHalving,  // recursive halving: log2(N) rounds, nearest ranks first; the partial sums are those of the tree
  kRing      // N - 1 rounds to the next rank, as libraries do it (FAST): a sum in rank order, other bits for other N
};

// What GPUs do with train.reduction TREE.
inline constexpr Schedule kScheduleOfGpus = Schedule::kHalving;

// What one rank sends to `peer` in a round: ranges first_range, first_range + stride, ... below the world size, where
// range r is what rank r ends with.
struct Transfer {
  int peer = 0;
  int first_range = 0;
  int stride = 1;
};
using Round = std::vector<Transfer>;  // all at once

// What `rank` sends in a reduce-scatter. An all-gather is the same backwards. In kHalving a receiver adds each range to
// its own: after round j it holds the sums of 2^(j+1) neighbouring ranks, which are nodes of the aligned binary tree
// (Thakur, Rabenseifner and Gropp, 2005, with the nearest ranks first instead of the farthest).
// REQUIRES: world_size is a power of two.
std::vector<Round> reduce_scatter_rounds(Schedule schedule, int rank, int world_size);

}  // namespace kangpt::sharding
