#include "training/desync_guard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"

namespace kangpt::training {
namespace {

// What every rank sends, first; then what rank `rank` makes of it.
class FakeGroup final : public Communicator {
 public:
  FakeGroup(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const noexcept override { return rank_; }
  int world_size() const noexcept override { return size_; }
  void reduce_scatter(std::span<float> /*flat*/) override {}
  void all_gather(std::span<const float> /*mine*/, std::span<float> /*flat*/) override {}
  std::vector<double> all_gather_scalars(std::span<const double> mine) override {
    sent.assign(mine.begin(), mine.end());
    return gathered.empty() ? std::vector<double>(mine.size() * static_cast<std::size_t>(size_)) : gathered;
  }
  std::vector<double> sent;
  std::vector<double> gathered;

 private:
  int rank_;
  int size_;
};

// The ranks on which check_parameters() throws.
std::vector<int> odd_ranks(const std::vector<ParameterHashes>& hashes) {
  const int size = static_cast<int>(hashes.size());
  std::vector<double> gathered;
  for (int rank = 0; rank < size; ++rank) {
    FakeGroup group(rank, size);
    try {
      check_parameters(group, hashes[static_cast<std::size_t>(rank)], 1);
    } catch (const InternalError&) {  // it only sent
    }
    gathered.insert(gathered.end(), group.sent.begin(), group.sent.end());
  }
  std::vector<int> odd;
  for (int rank = 0; rank < size; ++rank) {
    FakeGroup group(rank, size);
    group.gathered = gathered;
    try {
      check_parameters(group, hashes[static_cast<std::size_t>(rank)], 1);
    } catch (const InternalError&) {
      odd.push_back(rank);
    }
  }
  return odd;
}

constexpr std::uint64_t kA = 0xfedcba9876543210;
constexpr std::uint64_t kB = 0xffffffffffffffff;

TEST(CheckParameters, SilentWhereAllAgree) {
  EXPECT_THAT(odd_ranks({{{kA, kB}, kA}, {{kA, kB}, kB}}), ::testing::IsEmpty());
  EXPECT_THAT(odd_ranks({{{kA}, kA}}), ::testing::IsEmpty());
}

TEST(CheckParameters, NamesTheRankWhoseCopyChangedEvenAmongTwo) {
  EXPECT_THAT(odd_ranks({{{kA, kB}, kA}, {{kA + 1, kB}, kB}}), ::testing::ElementsAre(1));
  EXPECT_THAT(odd_ranks({{{kA, kB + 1}, kA}, {{kA, kB}, kB}}), ::testing::ElementsAre(0));
}

TEST(CheckParameters, NamesTheRankWhoseOwnRangeChanged) {
  EXPECT_THAT(odd_ranks({{{kA, kB}, kA}, {{kA, kB}, kB - 1}}), ::testing::ElementsAre(1));
  EXPECT_THAT(odd_ranks({{{kA}, kB}}), ::testing::ElementsAre(0));
}

}  // namespace
}  // namespace kangpt::training
