// How the flat buffer and the batch are divided among ranks.
#pragma once

#include <cstdint>
#include <vector>

namespace kangpt::sharding {

// Elements [begin, end) of the flat buffer.
struct FlatInterval {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size() const noexcept { return end - begin; }
};

// An interval in order, in pieces of `most` elements and a rest, for interfaces whose counts have 32 bits. REQUIRES:
// most is not 0.
std::vector<FlatInterval> cut(FlatInterval interval, std::uint64_t most);

// Logical shards [first, first + count) of the batch.
struct ShardInterval {
  int first = 0;
  int count = 0;
};

// The flat buffer, padded so that each of the V logical shards owns an equal slice of whole blocks, and a rank the
// slices of its own logical shards. A slice never depends on the world size, only on V. Immutable value.
class Partition {
 public:
  // Slices are multiples of this many elements (4 KiB).
  static constexpr std::uint64_t kBlockElements = 1024;

  // Throws ConfigError unless `logical_shards` is a power of two that `world_size` divides; the message names the
  // world sizes that do.
  Partition(std::uint64_t flat_size, int logical_shards, int world_size);

  std::uint64_t padded_size() const noexcept { return padded_size_; }
  int logical_shards() const noexcept { return logical_shards_; }
  int world_size() const noexcept { return world_size_; }
  std::uint64_t range_size() const noexcept { return padded_size_ / static_cast<std::uint64_t>(world_size_); }
  // What rank `rank` owns: its parameters, its moments, its part of the reduced gradient.
  FlatInterval range(int rank) const noexcept;
  // Whether more than one rank owns elements of it. REQUIRES: not empty, and within the buffer.
  bool cuts(FlatInterval interval) const noexcept;
  // The slice of one logical shard, for sums whose order must not depend on the world size.
  FlatInterval slice(int logical_shard) const noexcept;
  // The logical shards of the batch that rank `rank` computes.
  ShardInterval shards(int rank) const noexcept;

 private:
  std::uint64_t padded_size_ = 0;
  int logical_shards_ = 0;
  int world_size_ = 0;
};

}  // namespace kangpt::sharding
