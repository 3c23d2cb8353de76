#include "sharding/partition.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/error.hpp"
#include "sharding/agent_protocol.hpp"

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

// More elements than 32 bits count, in a sparse file: every part ends where the next begins, and has its own bytes.
TEST(Partition, LaysOutMoreThanEightBillionParameters) {
  constexpr std::uint64_t kFlatSize = (std::uint64_t{1} << 33) + 12'345;
  for (const int world : {1, 4}) {
    const Partition partition(kFlatSize, 8, world);
    ASSERT_GE(partition.padded_size(), kFlatSize);
    EXPECT_EQ(partition.range(world - 1).end, partition.padded_size());
    const std::uint64_t size = ExchangeMemory::size_bytes(partition.padded_size(), partition.range_size());
    ASSERT_GT(size, 8 * kFlatSize);
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
    ASSERT_EQ(::ftruncate(::fileno(file.get()), static_cast<off_t>(size)), 0);
    void* const place =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ::fileno(file.get()), 0);
    ASSERT_NE(place, MAP_FAILED);
    const ExchangeMemory memory({static_cast<std::byte*>(place), size}, partition.padded_size(),
                                partition.range_size());
    memory.gradients().back() = 1;
    memory.parameters().front() = 2;
    memory.parameters().back() = 3;
    memory.slot(0).second_moment.back() = 4;
    memory.slot(1).parameters.front() = 5;
    memory.slot(1).second_moment.back() = 6;
    EXPECT_EQ(memory.gradients().back() + memory.parameters().front() + memory.parameters().back(), 6);
    EXPECT_EQ(memory.slot(0).second_moment.back() + memory.slot(1).parameters.front(), 9);
    EXPECT_EQ(memory.slot(1).second_moment.back(), 6);
    ::munmap(place, size);
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
