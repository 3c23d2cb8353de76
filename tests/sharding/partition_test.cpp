#include "sharding/partition.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace kangpt::sharding {
namespace {

using ::testing::HasSubstr;

TEST(Partition, RangesCoverThePaddedBufferInOrder) {
  for (const int shards : {1, 2, 4, 8, 64}) {
    for (int world = 1; world <= shards; world *= 2) {
      const Partition partition(1'000'003, shards, world);
      std::uint64_t next = 0;
      for (int rank = 0; rank < world; ++rank) {
        EXPECT_EQ(partition.range(rank).begin, next);
        EXPECT_EQ(partition.range(rank).size(), partition.range_size());
        next = partition.range(rank).end;
      }
      EXPECT_EQ(next, partition.padded_size());
      EXPECT_GE(partition.padded_size(), 1'000'003U);
    }
  }
}

TEST(Cut, PiecesCoverTheIntervalAndFitIntoAnInt) {
  const std::uint64_t most = 0x7fffffff;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, most, most + 1, 5 * most + 7}) {
    std::uint64_t next = 3;
    for (const FlatInterval& piece : cut({3, 3 + size}, most)) {
      EXPECT_EQ(piece.begin, next);
      EXPECT_GT(static_cast<int>(piece.size()), 0);
      next = piece.end;
    }
    EXPECT_EQ(next, 3 + size);
  }
}

TEST(Partition, SlicesDependOnLogicalShardsAlone) {
  const Partition one(5'000, 8, 1);
  for (const int world : {2, 4, 8}) {
    const Partition many(5'000, 8, world);
    EXPECT_EQ(many.padded_size(), one.padded_size());
    for (int rank = 0; rank < world; ++rank) {
      const ShardInterval mine = many.shards(rank);
      EXPECT_EQ(many.slice(mine.first).begin, many.range(rank).begin);
      EXPECT_EQ(many.slice(mine.first + mine.count - 1).end, many.range(rank).end);
      EXPECT_EQ(one.slice(mine.first).begin, many.slice(mine.first).begin);
    }
  }
}

TEST(Partition, NamesTheValidWorldSizes) {
  try {
    const Partition partition(100, 4, 3);
    FAIL() << "3 ranks can't share 4 logical shards";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("4 logical shards"));
    EXPECT_THAT(error.what(), HasSubstr("1, 2, 4"));
  }
  EXPECT_THROW(Partition(100, 6, 2), ConfigError);
  EXPECT_THROW(Partition(100, 0, 1), ConfigError);
  EXPECT_THROW(Partition(100, 4, 8), ConfigError);
}

}  // namespace
}  // namespace kangpt::sharding
