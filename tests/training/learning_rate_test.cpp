#include "training/learning_rate.hpp"

#include <gtest/gtest.h>

#include "config/configuration.hpp"
#include "model/parameter_layout.hpp"

namespace kangpt::training {
namespace {

config::OptimizerSection optimizer() {
  return {.learning_rate = 1, .warmup_steps = 10, .minimum_learning_rate = 0.1};
}

TEST(LearningRate, RisesThenStaysOrFallsByHalfACosine) {
  config::OptimizerSection o = optimizer();
  o.schedule = config::Schedule::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 10, 110), 1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 110, 110), 1);
  o.schedule = config::Schedule::kCosine;
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 60, 110), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate(o, 110, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(o, 200, 110), 0.1);
}

TEST(RateRanges, TheFactorHoldsForAllLayersAndNothingElse) {
  const base::ParameterTable table = model::parameter_layout(config::load_configuration("", {}).values.model);
  config::OptimizerSection o = optimizer();
  EXPECT_TRUE(rate_ranges(o, table).empty()) << "a factor of 1 leaves the update in one piece";
  o.layer_learning_rate_factor = 0.25;
  const std::vector<RateRange> rates = rate_ranges(o, table);
  ASSERT_EQ(rates.size(), 1U);
  EXPECT_EQ(rates[0].factor, 0.25);
  for (const base::ParameterEntry& entry : table.entries) {
    const bool is_inside = entry.offset >= rates[0].begin && entry.offset + entry.size <= rates[0].end;
    const bool is_outside = entry.offset >= rates[0].end || entry.offset + entry.size <= rates[0].begin;
    EXPECT_TRUE(is_inside != is_outside) << entry.name;
    EXPECT_EQ(is_inside, entry.name.starts_with("layers.")) << entry.name;
  }
}

}  // namespace
}  // namespace kangpt::training
