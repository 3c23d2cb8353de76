#include "data_pipeline/batches/blend.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kangpt::data {
namespace {

TEST(Blend, OneSourceIsTakenInOrder) {
  const Blend blend({0.25});
  for (const std::uint64_t sample : {0U, 1U, 8191U, 8192U, 1000000U}) {
    EXPECT_EQ(blend.at(sample).source, 0U);
    EXPECT_EQ(blend.at(sample).position, sample);
  }
}

TEST(Blend, PositionsOfEachSourceCountUpWithoutGaps) {
  const Blend blend({5, 1, 0.0001, 2.5});
  std::vector<std::uint64_t> next(4);
  for (std::uint64_t sample = 0; sample < 50000; ++sample) {
    const Blend::Place place = blend.at(sample);
    ASSERT_EQ(place.position, next[place.source]++);
  }
  EXPECT_GT(next[2], 0U) << "no source is left out";
}

TEST(Blend, SharesFollowTheWeightsInEveryStretch) {
  const std::vector<double> weights = {0.6, 0.3, 0.1};
  const Blend blend(weights);
  for (const std::uint64_t begin : {0U, 777U, 8000U}) {
    std::vector<double> counts(3);
    for (std::uint64_t sample = begin; sample < begin + 200; ++sample) ++counts[blend.at(sample).source];
    for (std::size_t i = 0; i < 3; ++i) EXPECT_LE(std::abs(counts[i] - 200 * weights[i]), 2) << begin;
  }
}

}  // namespace
}  // namespace kangpt::data
