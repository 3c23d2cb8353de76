#include "sharding/partition.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "base/error.hpp"

namespace kangpt::sharding {
namespace {

std::string divisors_of(int logical_shards) {
  std::string text;
  for (int n = 1; n <= logical_shards; n *= 2) text += (n == 1 ? "" : ", ") + std::to_string(n);
  return text;
}

}  // namespace

std::vector<FlatInterval> cut(FlatInterval interval, std::uint64_t most) {
  std::vector<FlatInterval> pieces;
  for (std::uint64_t begin = interval.begin; begin < interval.end; begin = pieces.back().end)
    pieces.push_back({begin, begin + std::min(most, interval.end - begin)});
  return pieces;
}

Partition::Partition(std::uint64_t flat_size, int logical_shards, int world_size)
    : logical_shards_(logical_shards), world_size_(world_size) {
  if (logical_shards < 1 || !std::has_single_bit(static_cast<unsigned>(logical_shards))) {
    throw ConfigError("train.logical_shards is " + std::to_string(logical_shards) +
                      "; valid: a power of two (1, 2, 4, 8, ...)");
  }
  if (world_size < 1 || logical_shards % world_size != 0) {
    throw ConfigError("the batch has " + std::to_string(logical_shards) + " logical shards, which " +
                      std::to_string(world_size) +
                      " ranks can't share equally; valid world sizes (mpirun -np): " + divisors_of(logical_shards));
  }
  const std::uint64_t unit = kBlockElements * static_cast<std::uint64_t>(logical_shards);
  padded_size_ = (flat_size + unit - 1) / unit * unit;
}

FlatInterval Partition::range(int rank) const noexcept {
  const auto r = static_cast<std::uint64_t>(rank);
  return {r * range_size(), (r + 1) * range_size()};
}

bool Partition::cuts(FlatInterval interval) const noexcept {
  return interval.begin / range_size() != (interval.end - 1) / range_size();
}

FlatInterval Partition::slice(int logical_shard) const noexcept {
  const std::uint64_t size = padded_size_ / static_cast<std::uint64_t>(logical_shards_);
  const auto v = static_cast<std::uint64_t>(logical_shard);
  return {v * size, (v + 1) * size};
}

ShardInterval Partition::shards(int rank) const noexcept {
  const int count = logical_shards_ / world_size_;
  return {rank * count, count};
}

}  // namespace kangpt::sharding
