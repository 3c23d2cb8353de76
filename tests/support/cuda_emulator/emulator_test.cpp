// What the emulator has to find in kernels that are wrong, and what right ones give.
#include "tests/support/cuda_emulator/emulator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace kangpt::emulator {
namespace {

constexpr unsigned kThreads = 96;

class EmulatorTest : public ::testing::Test {
 protected:
  ~EmulatorTest() override { set_order(0); }
};

// Each thread adds up what all threads of its block wrote; without the barrier, what is there already.
std::vector<unsigned> sums_of_neighbours(bool with_barrier, std::uint64_t order) {
  set_order(order);
  std::vector<unsigned> sums(2 * kThreads);
  std::array<unsigned, kThreads> shared = {};
  run({2}, {kThreads}, [&] {
    shared[threadIdx.x] = threadIdx.x + 1000 * blockIdx.x;
    if (with_barrier) __syncthreads();
    sums[blockIdx.x * blockDim.x + threadIdx.x] = std::accumulate(shared.begin(), shared.end(), 0U);
    if (with_barrier) __syncthreads();
  });
  return sums;
}

TEST_F(EmulatorTest, ABarrierGivesTheSameInAnyOrder) {
  const std::vector<unsigned> expected = sums_of_neighbours(true, 0);
  EXPECT_EQ(expected.front(), kThreads * (kThreads - 1) / 2);
  EXPECT_EQ(expected.back(), kThreads * (kThreads - 1) / 2 + 1000 * kThreads);
  for (const std::uint64_t order : {1U, 2U, 3U}) EXPECT_EQ(sums_of_neighbours(true, order), expected);
}

TEST_F(EmulatorTest, AMissingBarrierShowsInAnotherOrder) {
  EXPECT_NE(sums_of_neighbours(false, 1), sums_of_neighbours(false, 0));
}

TEST_F(EmulatorTest, BlocksThatWriteToOnePlaceShowInAnotherOrder) {
  const auto last_block = [](std::uint64_t order) {
    set_order(order);
    unsigned last = 0;
    run({50}, {32}, [&] { last = blockIdx.x; });
    return last;
  };
  EXPECT_EQ(last_block(0), 49U);
  EXPECT_NE(last_block(1), last_block(2));
}

TEST_F(EmulatorTest, ShufflesExchangeWithinTheWarp) {
  std::vector<unsigned> got(kThreads);
  std::vector<double> first(kThreads);
  run({1}, {kThreads}, [&] {
    got[threadIdx.x] = __shfl_xor_sync(0xffffffffU, threadIdx.x, 3U);
    first[threadIdx.x] = __shfl_sync(0xffffffffU, 0.5 * threadIdx.x, 0U);
  });
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    EXPECT_EQ(got[thread], thread ^ 3U);
    EXPECT_EQ(first[thread], 0.5 * (thread / 32 * 32));
  }
}

TEST_F(EmulatorTest, IndicesCountBlocksAndThreadsInThreeDimensions) {
  std::vector<int> seen(6 * 64);
  run({3, 2}, {8, 4, 2}, [&] {
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    ++seen[(blockIdx.y * gridDim.x + blockIdx.x) * 64 + thread];
  });
  EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
}

TEST_F(EmulatorTest, ABarrierForSomeIsAnError) {
  EXPECT_THROW(run({1}, {64},
                   [] {
                     if (threadIdx.x < 32) __syncthreads();
                   }),
               std::logic_error);
}

TEST_F(EmulatorTest, AShuffleForSomeOfAWarpIsAnError) {
  EXPECT_THROW(run({1}, {64},
                   [] {
                     if (threadIdx.x % 2 == 0) __shfl_xor_sync(0xffffffffU, 1.0F, 1U);
                   }),
               std::logic_error);
}

TEST_F(EmulatorTest, ABarrierWhereOthersShuffleIsAnError) {
  EXPECT_THROW(run({1}, {32},
                   [] {
                     if (threadIdx.x == 0) {
                       __syncthreads();
                     } else {
                       __shfl_xor_sync(0xffffffffU, 1.0F, 1U);
                     }
                   }),
               std::logic_error);
}

TEST_F(EmulatorTest, AVectorAtAnOddAddressIsAnError) {
  alignas(16) const std::array<float, 8> values = {};
  EXPECT_NO_THROW(run({1}, {32}, [&] { require_aligned(values.data() + 4, 16); }));
  EXPECT_THROW(run({1}, {32}, [&] { require_aligned(values.data() + 1, 16); }), std::logic_error);
  EXPECT_NO_THROW(run({1}, {32}, [] {})) << "it goes on afterwards";
}

TEST_F(EmulatorTest, ABlockIsAWholeNumberOfWarps) {
  EXPECT_THROW(run({1}, {33}, [] {}), std::logic_error);
}

}  // namespace
}  // namespace kangpt::emulator
