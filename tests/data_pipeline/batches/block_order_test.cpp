#include "data_pipeline/batches/block_order.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "data_pipeline/batches/blocks_ahead.hpp"

namespace kangpt::data {
namespace {

TEST(BlockOrder, IsOneToOneForEveryShape) {
  for (std::uint64_t samples = 1; samples < 130; ++samples) {
    for (const std::uint64_t block : {1U, 2U, 7U, 200U}) {
      for (const std::uint64_t window : {1U, 3U, 64U}) {
        const BlockOrder order({samples, block, window}, 3, samples);
        std::vector<bool> seen(samples);
        for (std::uint64_t i = 0; i < samples; ++i) {
          const std::uint64_t sample = order(i);
          ASSERT_LT(sample, samples);
          ASSERT_FALSE(seen[sample]) << samples << " in blocks of " << block << ", windows of " << window;
          seen[sample] = true;
        }
      }
    }
  }
}

// What is read ahead is what is then read: a window's samples are those of its blocks, however they are mixed.
TEST(BlockOrder, AWindowHasTheSamplesOfItsBlocks) {
  constexpr BlockOrder::Shape kShape = {1003, 10, 8};  // 101 blocks in 13 windows
  for (const std::uint64_t epoch : {0U, 1U}) {
    const BlockOrder order(kShape, 5, epoch);
    ASSERT_EQ(order.windows(), 13U);
    for (std::uint64_t window = 0; window < order.windows(); ++window) {
      std::set<std::uint64_t> of_blocks, of_positions;
      ASSERT_LE(order.blocks_in(window), kShape.window_blocks);
      for (std::uint64_t i = 0; i < order.blocks_in(window); ++i) {
        const SampleRun block = order.block(window, i);
        for (std::uint64_t k = 0; k < block.count; ++k) of_blocks.insert(block.first + k);
      }
      const SampleRun run = order.window(window);
      for (std::uint64_t i = run.first; i < run.first + run.count; ++i) {
        ASSERT_EQ(order.window_of(i), window);
        of_positions.insert(order(i));
      }
      EXPECT_EQ(of_positions, of_blocks);
    }
  }
}

TEST(BlockOrder, MixesTheSamplesOfAWindowAndTheOrderOfBlocks) {
  const BlockOrder order({64000, 100, 16}, 1, 0);  // 40 windows
  int same_block = 0;
  int next_block = 0;
  for (std::uint64_t i = 0; i + 1 < 64000; ++i) {
    same_block += order(i) / 100 == order(i + 1) / 100 ? 1 : 0;
    next_block += order(i) / 100 + 1 == order(i + 1) / 100 ? 1 : 0;
  }
  EXPECT_NEAR(same_block, 64000 / 16, 400);
  EXPECT_LT(next_block, 64000 / 16);
  const auto blocks_of = [](const BlockOrder& any) {
    std::vector<std::uint64_t> firsts;
    for (std::uint64_t i = 0; i < any.blocks_in(0); ++i) firsts.push_back(any.block(0, i).first);
    return firsts;
  };
  EXPECT_NE(blocks_of(order), blocks_of(BlockOrder({64000, 100, 16}, 1, 1))) << "another epoch";
  EXPECT_NE(blocks_of(order), blocks_of(BlockOrder({64000, 100, 16}, 2, 0))) << "another seed";
}

TEST(BlockOrder, StaysInsideWhereThereAreMoreSamplesThanASmallNumberCounts) {
  constexpr std::uint64_t kSamples = (std::uint64_t{1} << 50) + 12345;  // 10^15
  const BlockOrder order({kSamples, 1024, 64}, 1, 0);
  for (const std::uint64_t position : {std::uint64_t{0}, std::uint64_t{1} << 33, kSamples / 2, kSamples - 1})
    EXPECT_LT(order(position), kSamples);
  EXPECT_EQ(order.window(order.windows() - 1).first + order.window(order.windows() - 1).count, kSamples);
}

// The order is part of what a checkpoint relies on: these values must never change.
TEST(BlockOrder, IsTheSameInEveryVersion) {
  const BlockOrder order({1000000, 1000, 64}, 42, 7);
  EXPECT_EQ(order(0), 65118U);
  EXPECT_EQ(order(1), 198271U);
  EXPECT_EQ(order(999999), 529945U);
}

// Rows of 1,000 tokens that note what is read ahead.
class NotedSamples : public Samples {
 public:
  std::uint64_t size() const noexcept override { return 200000; }
  std::uint64_t tokens() const noexcept override { return 1000 * size(); }
  std::size_t row_ids() const noexcept override { return 1001; }
  std::size_t read(std::uint64_t, std::span<std::int64_t>) override { return 0; }
  void read_ahead(std::uint64_t first, std::uint64_t count) override {
    for (std::uint64_t sample = first; sample < first + count; ++sample) ++ahead[sample];
  }
  std::vector<int> ahead = std::vector<int>(200000);
};

TEST(BlocksAhead, EverySampleIsReadAheadOnceAnEpochAndBeforeItIsRead) {
  NotedSamples samples;
  BlocksAhead blocks(samples, 9);
  ASSERT_EQ(block_shape_of(samples).block_samples, 1048U);
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    const BlockOrder order(block_shape_of(samples), 9, epoch);
    ASSERT_EQ(order.windows(), 3U);
    for (std::uint64_t position = 0; position < samples.size(); position += 5) {
      blocks.at(epoch, position);
      ASSERT_GE(samples.ahead[order(position)], static_cast<int>(epoch) + 1) << "position " << position;
    }
  }
  blocks.at(1, samples.size() - 1);
  // The first window of the third epoch too; those after it not yet.
  const BlockOrder third(block_shape_of(samples), 9, 2);
  for (std::uint64_t position = 0; position < samples.size(); position += 97)
    EXPECT_EQ(samples.ahead[third(position)], third.window_of(position) == 0 ? 3 : 2);
}

TEST(BlocksAhead, AJumpReadsTheWindowItLeadsTo) {
  NotedSamples samples;
  BlocksAhead blocks(samples, 9);
  blocks.at(0, 0);
  blocks.at(5, 150000);
  const BlockOrder order(block_shape_of(samples), 9, 5);
  const SampleRun window = order.window(order.window_of(150000));
  for (std::uint64_t i = 0; i < window.count; ++i) EXPECT_GE(samples.ahead[order(window.first + i)], 1);
}

}  // namespace
}  // namespace kangpt::data
