#include "launcher/plan.hpp"

#include <gtest/gtest.h>

namespace kangpt::launcher {
namespace {

// What --plan recommends for a batch of so many rows.
std::string layout(int batch_size, int logical_shards, int cpus) {
  JobSetup setup;
  setup.config.train.logical_shards = logical_shards;
  setup.state.batch_size = static_cast<std::uint32_t>(batch_size);
  setup.state.logical_shards = static_cast<std::uint32_t>(logical_shards == 0 ? 1 : logical_shards);
  return recommended_layout(setup, {.cpus = cpus});
}

TEST(RecommendedLayout, HasARankForEachProcessorWhereTheBatchAllows) {
  EXPECT_EQ(layout(16, 0, 2), "2 rank(s) x 1 thread(s) use all 2 processor(s): mpirun -np 2");
  EXPECT_EQ(layout(16, 0, 64), "16 rank(s) x 4 thread(s) use all 64 processor(s): mpirun -np 16");
  EXPECT_EQ(layout(15, 0, 8), "1 rank(s) x 8 thread(s) use all 8 processor(s): mpirun -np 1");
}

TEST(RecommendedLayout, KeepsTheLogicalShardsOfTheRun) {
  EXPECT_EQ(layout(16, 4, 8), "4 rank(s) x 2 thread(s) use all 8 processor(s): mpirun -np 4 ... --set run.threads=2");
}

TEST(RecommendedLayout, IsOneRankAGpu) {
  JobSetup setup;
  setup.device = config::Device::kCuda;
  EXPECT_EQ(recommended_layout(setup, {.cpus = 8}), "one rank a GPU");
}

}  // namespace
}  // namespace kangpt::launcher
