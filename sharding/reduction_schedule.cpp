#include "sharding/reduction_schedule.hpp"

namespace kangpt::sharding {
namespace {

std::vector<Round> direct_rounds(int rank, int world_size) {
  if (world_size == 1) return {};
  Round round;
  for (int peer = 0; peer < world_size; ++peer) {
    if (peer != rank) round.push_back({peer, peer, world_size});
  }
  return {round};
}

// Before round j a rank holds the ranges whose low j bits are its own; it sends those that have its peer's bit j.
std::vector<Round> halving_rounds(int rank, int world_size) {
  std::vector<Round> rounds;
  for (int distance = 1; distance < world_size; distance *= 2) {
    const int peer = rank ^ distance;
    rounds.push_back({{peer, peer % (2 * distance), 2 * distance}});
  }
  return rounds;
}

// A range travels once around and ends at its own rank.
std::vector<Round> ring_rounds(int rank, int world_size) {
  std::vector<Round> rounds;
  for (int step = 1; step < world_size; ++step) {
    rounds.push_back({{(rank + 1) % world_size, (rank - step + world_size) % world_size, world_size}});
  }
  return rounds;
}

}  // namespace

std::vector<Round> reduce_scatter_rounds(Schedule schedule, int rank, int world_size) {
  switch (schedule) {
    case Schedule::kDirect:
      return direct_rounds(rank, world_size);
    case Schedule::kHalving:
      return halving_rounds(rank, world_size);
    case Schedule::kRing:
      return ring_rounds(rank, world_size);
  }
  return {};
}

}  // namespace kangpt::sharding
