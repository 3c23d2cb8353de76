// The schedules carried out on numbers, with up to 1,024 ranks in one process.
#include "sharding/reduction_schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "base/tree_sum.hpp"

namespace kangpt::sharding {
namespace {

// values[rank][range]: one number a range.
using Values = std::vector<std::vector<float>>;

Values random_values(int ranks) {
  std::mt19937 random(static_cast<unsigned>(ranks));
  std::uniform_real_distribution<float> exponent(-20, 20);
  Values values(static_cast<std::size_t>(ranks), std::vector<float>(static_cast<std::size_t>(ranks)));
  for (auto& row : values) {
    for (float& value : row) value = (random() % 2 == 0 ? 1.0F : -1.0F) * std::exp2(exponent(random));
  }
  return values;
}

float tree_sum_of_range(const Values& values, std::size_t range) {
  std::vector<float> terms;
  std::vector<float*> pointers;
  for (const auto& row : values) terms.push_back(row[range]);
  for (float& term : terms) pointers.push_back(&term);
  base::tree_sum(pointers, 1);
  return terms[0];
}

std::uint32_t bits(float value) {
  std::uint32_t result = 0;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

struct Sent {
  int from = 0;
  std::size_t range = 0;
  float value = 0;
};

// All messages of a round, by receiver, as they are before any of them arrives.
std::map<int, std::vector<Sent>> messages_of_round(const std::vector<std::vector<Round>>& rounds, std::size_t index,
                                                   const Values& held) {
  std::map<int, std::vector<Sent>> inbox;
  for (std::size_t rank = 0; rank < rounds.size(); ++rank) {
    for (const Transfer& transfer : rounds[rank][index]) {
      for (auto range = static_cast<std::size_t>(transfer.first_range); range < held.size();
           range += static_cast<std::size_t>(transfer.stride)) {
        inbox[transfer.peer].push_back({static_cast<int>(rank), range, held[rank][range]});
      }
    }
  }
  return inbox;
}

std::vector<std::vector<Round>> rounds_of_all(Schedule schedule, int ranks) {
  std::vector<std::vector<Round>> rounds;
  for (int rank = 0; rank < ranks; ++rank) rounds.push_back(reduce_scatter_rounds(schedule, rank, ranks));
  return rounds;
}

// What every rank holds of every range after all rounds, if a receiver adds what comes to what it has.
Values add_on_arrival(Schedule schedule, Values held) {
  const auto rounds = rounds_of_all(schedule, static_cast<int>(held.size()));
  for (std::size_t index = 0; index < rounds[0].size(); ++index) {
    for (const auto& [receiver, messages] : messages_of_round(rounds, index, held)) {
      for (const Sent& sent : messages) held[static_cast<std::size_t>(receiver)][sent.range] += sent.value;
    }
  }
  return held;
}

TEST(ReductionSchedule, HalvingGivesTheBitsOfTheTree) {
  for (const int ranks : {1, 2, 4, 8, 16, 64, 256, 1024}) {
    const Values values = random_values(ranks);
    const Values reduced = add_on_arrival(Schedule::kHalving, values);
    for (std::size_t rank = 0; rank < values.size(); ++rank) {
      ASSERT_EQ(bits(reduced[rank][rank]), bits(tree_sum_of_range(values, rank))) << rank << " of " << ranks;
    }
  }
}

TEST(ReductionSchedule, DirectBringsEveryRankItsRangeOfAllOthers) {
  for (const int ranks : {2, 8, 64}) {
    const Values values = random_values(ranks);
    const auto inbox = messages_of_round(rounds_of_all(Schedule::kDirect, ranks), 0, values);
    for (const auto& [receiver, messages] : inbox) {
      ASSERT_EQ(messages.size(), values.size() - 1);
      for (const Sent& sent : messages) EXPECT_EQ(sent.range, static_cast<std::size_t>(receiver));
    }
  }
}

TEST(ReductionSchedule, RingSumsEveryRangeOnceButWithOtherBits) {
  int different = 0;
  for (const int ranks : {2, 8, 64}) {
    const Values values = random_values(ranks);
    const Values reduced = add_on_arrival(Schedule::kRing, values);
    for (std::size_t rank = 0; rank < values.size(); ++rank) {
      double sum = 0, size = 0;
      for (const auto& row : values) {
        sum += static_cast<double>(row[rank]);
        size += std::abs(static_cast<double>(row[rank]));
      }
      EXPECT_NEAR(static_cast<double>(reduced[rank][rank]), sum, 1e-5 * size);
      different += bits(reduced[rank][rank]) != bits(tree_sum_of_range(values, rank)) ? 1 : 0;
    }
  }
  EXPECT_GT(different, 0) << "the ring would be exact, and TREE needless";
}

// (N - 1) / N of the buffer, whichever way: no schedule pays for exactness with volume.
TEST(ReductionSchedule, EveryRankSendsTheSameVolume) {
  for (const Schedule schedule : {Schedule::kDirect, Schedule::kHalving, Schedule::kRing}) {
    for (const int ranks : {1, 2, 8, 1024}) {
      for (const int rank : {0, ranks / 2, ranks - 1}) {
        int ranges = 0;
        for (const Round& round : reduce_scatter_rounds(schedule, rank, ranks)) {
          for (const Transfer& transfer : round)
            ranges += (ranks - transfer.first_range + transfer.stride - 1) / transfer.stride;
        }
        EXPECT_EQ(ranges, ranks - 1);
      }
    }
  }
}

}  // namespace
}  // namespace kangpt::sharding
