#include "base/format.hpp"

#include <gtest/gtest.h>

namespace kangpt::base {
namespace {

TEST(Format, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.0 kB");
  EXPECT_EQ(format_bytes(1.55e6), "1.6 MB");
  EXPECT_EQ(format_bytes(184.5e6), "184 MB");
  EXPECT_EQ(format_bytes(999.9e6), "1.0 GB");
  EXPECT_EQ(format_bytes(5e15), "5000 TB");
}

TEST(Format, Counts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(15375360), "15,375,360");
  EXPECT_EQ(format_count(~0ULL), "18,446,744,073,709,551,615");
}

TEST(Format, Durations) {
  EXPECT_EQ(format_duration(0), "0 ms");
  EXPECT_EQ(format_duration(0.85), "850 ms");
  EXPECT_EQ(format_duration(0.9999), "1.0 s");
  EXPECT_EQ(format_duration(12.34), "12.3 s");
  EXPECT_EQ(format_duration(59.97), "1 min 00 s");
  EXPECT_EQ(format_duration(245), "4 min 05 s");
  EXPECT_EQ(format_duration(3599.7), "1 h 00 min");
  EXPECT_EQ(format_duration(7620), "2 h 07 min");
}

TEST(Format, Join) {
  EXPECT_EQ(join({}, ", "), "");
  EXPECT_EQ(join({"a"}, ", "), "a");
  EXPECT_EQ(join({"a", "b"}, ", "), "a, b");
}

TEST(ClosestName, FindsMisspellingsAndNothingElse) {
  const std::vector<std::string> names = {"learning_rate", "weight_decay", "beta1"};
  EXPECT_EQ(closest_name("lerning_rate", names), "learning_rate");
  EXPECT_EQ(closest_name("weigth_decay", names), "weight_decay");
  EXPECT_EQ(closest_name("beta", names), "beta1");
  EXPECT_EQ(closest_name("zzzzzz", names), "");
  EXPECT_EQ(closest_name("x", {}), "");
}

}  // namespace
}  // namespace kangpt::base
