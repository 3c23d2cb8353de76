// Run under mpirun with 1, 2 and 4 ranks. MPI's own collectives are the oracle where there is one; mpi.h stays out of
// here, so sums are compared with values that every rank can compute for all ranks.
#include "sharding/mpi/mpi_group.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/processor/processor.hpp"
#include "base/tree_sum.hpp"

namespace kangpt::sharding {
namespace {

MpiGroup* group = nullptr;  // made in main(), since MPI starts once a process

void finish(Exchange& exchange) {
  while (!exchange.progress()) ::poll(nullptr, 0, 0);
}

// A value of mixed magnitude, so that another order of summation gives other bits.
float value_of(int rank, std::uint64_t element) {
  return std::sin(static_cast<float>(element % 9973) + static_cast<float>(rank)) *
         std::pow(10.0F, static_cast<float>(rank % 3));
}

std::vector<float> gradient_of(int rank, std::uint64_t size) {
  std::vector<float> values(size);
  for (std::uint64_t i = 0; i < size; ++i) values[i] = value_of(rank, i);
  return values;
}

class ReduceScatter : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(ReduceScatter, TreeHasTheBitsOfTheTreeOverRanks) {
  const auto world = static_cast<std::uint64_t>(group->size());
  const std::uint64_t range = GetParam();
  std::vector<float> flat = gradient_of(group->rank(), range * world);
  finish(*group->tree_reduce_scatter(flat));
  std::vector<std::vector<float>> all;
  std::vector<float*> terms;
  for (int rank = 0; rank < group->size(); ++rank) all.push_back(gradient_of(rank, range * world));
  for (auto& values : all) terms.push_back(values.data());
  base::tree_sum(std::span<float* const>(terms), range * world);
  const std::uint64_t begin = static_cast<std::uint64_t>(group->rank()) * range;
  for (std::uint64_t i = begin; i < begin + range; ++i) ASSERT_EQ(flat[i], all[0][i]) << i;
}

// In one call, and as where MPI's counts are too small for the buffer.
TEST_P(ReduceScatter, FastSumsTheSameTerms) {
  const auto world = static_cast<std::uint64_t>(group->size());
  const std::uint64_t range = GetParam();
  for (const std::uint64_t most : {MpiGroup::kMostInOneCall, std::uint64_t{100'000}}) {
    std::vector<float> flat = gradient_of(group->rank(), range * world);
    finish(*group->fast_reduce_scatter(flat, most));
    const std::uint64_t begin = static_cast<std::uint64_t>(group->rank()) * range;
    for (std::uint64_t i = begin; i < begin + range; ++i) {
      double expected = 0;
      for (int rank = 0; rank < group->size(); ++rank) expected += value_of(rank, i);
      ASSERT_NEAR(flat[i], expected, 1e-4 * 111) << i;
    }
  }
}

// Gradients near the least normal number of fp32: their sums, or the terms themselves, may be denormal.
float tiny_value(int shard, std::uint64_t element) {
  const float size = std::numeric_limits<float>::min() * (0.25F + static_cast<float>((element * 7 + 3) % 16) / 4);
  return (element >> static_cast<unsigned>(shard)) % 2 == 0 ? size : -size * (1 + static_cast<float>(shard) / 8);
}

double flushed(double value) {
  return std::abs(value) < static_cast<double>(std::numeric_limits<float>::min()) ? 0 : value;
}

// Logical shards summed by a worker and those summed here have the same bits only if both take denormals as 0.
TEST_P(ReduceScatter, SumsOfDenormalsAreTheSameWhereverTheyAreMade) {
  constexpr int kShards = 4;
  const auto world = static_cast<std::uint64_t>(group->size());
  const int own = kShards / group->size();
  const std::uint64_t size = GetParam() * world;
  std::vector<std::vector<float>> shards(static_cast<std::size_t>(own), std::vector<float>(size));
  std::vector<float*> terms;
  for (int shard = 0; shard < own; ++shard) {
    std::vector<float>& values = shards[static_cast<std::size_t>(shard)];
    for (std::uint64_t i = 0; i < size; ++i) values[i] = tiny_value(group->rank() * own + shard, i);
    terms.push_back(values.data());
  }
  base::tree_sum(std::span<float* const>(terms), size);
  finish(*group->tree_reduce_scatter(shards[0]));
  const std::uint64_t begin = static_cast<std::uint64_t>(group->rank()) * GetParam();
  std::uint64_t zeros = 0;
  for (std::uint64_t i = begin; i < begin + GetParam(); ++i) {
    std::array<double, kShards> value{};
    for (int shard = 0; shard < kShards; ++shard)
      value[static_cast<std::size_t>(shard)] = flushed(static_cast<double>(tiny_value(shard, i)));
    const double left = flushed(static_cast<double>(static_cast<float>(value[0] + value[1])));
    const double right = flushed(static_cast<double>(static_cast<float>(value[2] + value[3])));
    const double expected = flushed(static_cast<double>(static_cast<float>(left + right)));
    ASSERT_EQ(static_cast<double>(shards[0][i]), expected) << i;
    zeros += expected == 0 ? 1 : 0;
  }
  EXPECT_TRUE(zeros > 0 || GetParam() == 1);
}

TEST_P(ReduceScatter, FastLeavesNoDenormalsEither) {
  if (group->size() == 1) return;  // nothing is added
  const std::uint64_t size = GetParam() * static_cast<std::uint64_t>(group->size());
  std::vector<float> flat(size);
  for (std::uint64_t i = 0; i < size; ++i) flat[i] = tiny_value(group->rank(), i);
  finish(*group->fast_reduce_scatter(flat));
  const std::uint64_t begin = static_cast<std::uint64_t>(group->rank()) * GetParam();
  for (std::uint64_t i = begin; i < begin + GetParam(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(flat[i]);  // in numbers a denormal would be 0 here
    ASSERT_TRUE((bits & 0x7F800000U) != 0 || (bits & 0x7FFFFFU) == 0) << i;
  }
}

// One element, less than a chunk, several chunks with a rest.
INSTANTIATE_TEST_SUITE_P(Sizes, ReduceScatter, ::testing::Values(1, 1024, 700'001));

TEST(AllGather, PutsEveryRangeInItsPlace) {
  constexpr std::uint64_t kRange = 100'003;
  const std::vector<float> mine(kRange, static_cast<float>(group->rank() + 1));
  std::vector<float> flat(kRange * static_cast<std::uint64_t>(group->size()));
  finish(*group->all_gather(mine, flat));
  for (std::size_t i = 0; i < flat.size(); ++i) ASSERT_EQ(flat[i], static_cast<float>(i / kRange + 1));
}

TEST(Control, TextsOfAnyLengthReachEveryone) {
  const std::string mine(static_cast<std::size_t>(group->rank()) * 1000, static_cast<char>('a' + group->rank()));
  const std::vector<std::string> all = group->all_gather(mine);
  for (int rank = 0; rank < group->size(); ++rank) {
    EXPECT_EQ(all[static_cast<std::size_t>(rank)],
              std::string(static_cast<std::size_t>(rank) * 1000, static_cast<char>('a' + rank)));
  }
  EXPECT_EQ(group->broadcast(group->rank() == 0 ? "from rank zero" : "from elsewhere"), "from rank zero");
}

TEST(Control, PostedMessagesArriveOnceByTopic) {
  constexpr int kWanted = 7;
  constexpr int kOther = 8;
  for (int rank = 0; rank < group->size(); ++rank) {
    group->post(rank, kOther, "other");
    group->post(rank, kWanted, std::to_string(group->rank()));
  }
  int sum = 0;
  for (int received = 0; received < group->size();) {
    const auto message = group->receive(kWanted);
    if (!message) continue;
    EXPECT_EQ(message->text, std::to_string(message->source));
    sum += message->source;
    ++received;
  }
  EXPECT_EQ(sum, group->size() * (group->size() - 1) / 2);
  for (int received = 0; received < group->size();) received += group->receive(kOther) ? 1 : 0;
  EXPECT_FALSE(group->receive(kOther).has_value());
  EXPECT_FALSE(group->receive(kWanted).has_value());
}

// What recovery rests on: an exchange that some ranks have begun completes once the others join, however late.
TEST(Exchange, WaitsForLateRanksWithoutBlocking) {
  std::vector<float> flat(static_cast<std::size_t>(group->size()) * 10, 1.0F);
  if (group->rank() != 0) ::poll(nullptr, 0, 300);
  const auto exchange = group->tree_reduce_scatter(flat);
  if (group->rank() == 0 && group->size() > 1) {
    EXPECT_FALSE(exchange->progress());
  }
  finish(*exchange);
  EXPECT_EQ(flat[static_cast<std::size_t>(group->rank()) * 10], static_cast<float>(group->size()));
}

}  // namespace

int run_all(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  base::flush_denormals();  // as kangpt_dist does
  MpiGroup mpi;
  group = &mpi;
  return RUN_ALL_TESTS();
}

}  // namespace kangpt::sharding

int main(int argc, char** argv) {
  return kangpt::sharding::run_all(argc, argv);
}
