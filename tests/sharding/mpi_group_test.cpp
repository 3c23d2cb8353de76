// Run under mpirun with 1, 2 and 4 ranks. MPI's own collectives are the oracle where there is one; mpi.h stays out of
// here, so sums are compared with values that every rank can compute for all ranks.
#include "sharding/mpi_group.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <cmath>
#include <numeric>

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

TEST_P(ReduceScatter, FastSumsTheSameTerms) {
  const auto world = static_cast<std::uint64_t>(group->size());
  const std::uint64_t range = GetParam();
  std::vector<float> flat = gradient_of(group->rank(), range * world);
  finish(*group->fast_reduce_scatter(flat));
  const std::uint64_t begin = static_cast<std::uint64_t>(group->rank()) * range;
  for (std::uint64_t i = begin; i < begin + range; ++i) {
    double expected = 0;
    for (int rank = 0; rank < group->size(); ++rank) expected += value_of(rank, i);
    ASSERT_NEAR(flat[i], expected, 1e-4 * 111) << i;
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
  EXPECT_FALSE(group->receive().has_value());
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
  MpiGroup mpi;
  group = &mpi;
  return RUN_ALL_TESTS();
}

}  // namespace kangpt::sharding

int main(int argc, char** argv) {
  return kangpt::sharding::run_all(argc, argv);
}
