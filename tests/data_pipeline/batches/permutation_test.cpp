#include "data_pipeline/batches/permutation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kangpt::data {
namespace {

TEST(Permutation, IsOneToOneForEverySize) {
  for (std::uint64_t size = 1; size < 600; ++size) {
    const Permutation permutation(size, 3, size);
    std::vector<bool> seen(size);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t value = permutation(i);
      ASSERT_LT(value, size);
      ASSERT_FALSE(seen[value]) << size;
      seen[value] = true;
    }
  }
}

TEST(Permutation, StaysInsideLargeDomains) {
  for (const std::uint64_t size : {(std::uint64_t{1} << 33) + 1, std::uint64_t{1} << 62}) {
    const Permutation permutation(size, 1, 0);
    for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_LT(permutation(size - 1 - i), size);
  }
}

TEST(Permutation, SpreadsNeighboursAsRandomNumbersWould) {
  constexpr std::uint64_t kSize = 100000;
  for (const std::uint64_t epoch : {0U, 1U, 2U}) {
    const Permutation permutation(kSize, 1, epoch);
    double products = 0;  // of neighbours' deviations from the middle
    std::vector<int> histogram(10);
    for (std::uint64_t i = 0; i < kSize; ++i) {
      const auto deviation = [&](std::uint64_t k) { return static_cast<double>(permutation(k % kSize)) / kSize - 0.5; };
      products += deviation(i) * deviation(i + 1);
      if (i < kSize / 10) ++histogram[permutation(i) * 10 / kSize];
    }
    EXPECT_LT(std::abs(products / kSize * 12), 0.02) << "correlation";
    for (const int count : histogram) EXPECT_NEAR(count, kSize / 100, 150);
  }
}

TEST(Permutation, DependsOnSeedAndEpoch) {
  const auto fixed_points = [](const Permutation& a, const Permutation& b) {
    int equal = 0;
    for (std::uint64_t i = 0; i < 1000; ++i) equal += a(i) == b(i) ? 1 : 0;
    return equal;
  };
  const Permutation base(1000, 1, 0);
  EXPECT_LT(fixed_points(base, Permutation(1000, 2, 0)), 20);
  EXPECT_LT(fixed_points(base, Permutation(1000, 1, 1)), 20);
  EXPECT_EQ(fixed_points(base, Permutation(1000, 1, 0)), 1000);
}

// The order is part of what a checkpoint relies on: these values must never change.
TEST(Permutation, IsTheSameInEveryVersion) {
  const Permutation permutation(1000000, 42, 7);
  EXPECT_EQ(permutation(0), 242168U);
  EXPECT_EQ(permutation(1), 43482U);
  EXPECT_EQ(permutation(999999), 982576U);
}

}  // namespace
}  // namespace kangpt::data
