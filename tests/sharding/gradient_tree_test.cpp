#include "sharding/gradient_tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/tree_sum.hpp"

namespace kangpt::sharding {
namespace {

std::vector<std::vector<float>> random_gradients(int count, std::size_t size) {
  std::mt19937 generator(7);
  std::normal_distribution<float> values(0.0F, 3.0F);
  std::vector<std::vector<float>> gradients(static_cast<std::size_t>(count), std::vector<float>(size));
  for (auto& gradient : gradients) {
    for (float& value : gradient) value = values(generator);
  }
  return gradients;
}

// The definition: split in halves, sum each, add.
float recursive_sum(const std::vector<std::vector<float>>& gradients, std::size_t first, std::size_t count,
                    std::size_t element) {
  if (count == 1) return gradients[first][element];
  return recursive_sum(gradients, first, count / 2, element) +
         recursive_sum(gradients, first + count / 2, count / 2, element);
}

TEST(GradientTree, HasTheBitsOfTheRecursiveDefinition) {
  constexpr std::size_t kSize = 10'000;
  for (const int count : {1, 2, 4, 8, 32}) {
    const auto gradients = random_gradients(count, kSize);
    GradientTree tree(count, kSize);
    std::vector<float> buffer(kSize);
    for (int repetition = 0; repetition < 2; ++repetition) {  // the second step reuses the buffers
      for (std::size_t shard = 0; shard < gradients.size(); ++shard) {
        buffer = gradients[shard];
        tree.add(buffer);
        const bool cleared = std::ranges::all_of(buffer, [](float value) { return value == 0; });
        ASSERT_EQ(cleared, shard + 1 < gradients.size()) << shard << " of " << count;
      }
      for (std::size_t i = 0; i < kSize; ++i)
        ASSERT_EQ(buffer[i], recursive_sum(gradients, 0, gradients.size(), i)) << count << " " << i;
    }
  }
}

TEST(GradientTree, GoesOnOverRanksWithTheSameBits) {
  constexpr std::size_t kSize = 100;
  constexpr int kShards = 8;
  const auto gradients = random_gradients(kShards, kSize);
  for (const int world : {2, 4, 8}) {
    std::vector<std::vector<float>> of_rank;
    for (int rank = 0; rank < world; ++rank) {
      GradientTree tree(kShards / world, kSize);
      std::vector<float> buffer;
      for (int shard = 0; shard < kShards / world; ++shard) {
        buffer = gradients[static_cast<std::size_t>(rank * (kShards / world) + shard)];
        tree.add(buffer);
      }
      of_rank.push_back(buffer);
    }
    std::vector<float*> terms;
    for (auto& buffer : of_rank) terms.push_back(buffer.data());
    base::tree_sum(std::span<float* const>(terms), kSize);
    for (std::size_t i = 0; i < kSize; ++i) ASSERT_EQ(of_rank[0][i], recursive_sum(gradients, 0, kShards, i));
  }
}

}  // namespace
}  // namespace kangpt::sharding
