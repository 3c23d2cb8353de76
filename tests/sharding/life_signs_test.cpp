#include "sharding/mpi/life_signs.hpp"

#include <gtest/gtest.h>

namespace kangpt::sharding {
namespace {

using std::chrono::milliseconds;

class LifeSignsTest : public ::testing::Test {
 protected:
  // Listens ten times a second for as long as `seconds` takes, without hearing anything.
  std::optional<double> silence(double seconds) {
    std::optional<double> found;
    for (int i = 0; i < static_cast<int>(seconds * 10) && !found; ++i)
      found = signs_.listen(false, now_ += milliseconds(100));
    return found;
  }

  LifeSigns signs_;
  LifeSigns::Clock::time_point now_{std::chrono::hours(1)};
};

TEST_F(LifeSignsTest, AreDueAFewTimesASecond) {
  EXPECT_TRUE(signs_.due(now_));
  signs_.listen(true, now_);
  EXPECT_FALSE(signs_.due(now_ + milliseconds(10)));
  EXPECT_TRUE(signs_.due(now_ + milliseconds(500)));
}

TEST_F(LifeSignsTest, EndAnySilenceAndTheirLackIsMeasured) {
  signs_.set_patience(30);
  EXPECT_FALSE(silence(29));
  EXPECT_FALSE(signs_.listen(true, now_));
  EXPECT_FALSE(silence(29));
  EXPECT_NEAR(silence(3).value_or(0), 30, 0.2);
}

TEST_F(LifeSignsTest, TimeInWhichTheListenerSleptDoesNotCount) {
  signs_.set_patience(30);
  EXPECT_FALSE(silence(10));
  EXPECT_FALSE(signs_.listen(false, now_ += std::chrono::hours(10)));
  EXPECT_FALSE(silence(18));
  EXPECT_TRUE(silence(2));
}

TEST_F(LifeSignsTest, PatienceHasALowerLimit) {
  signs_.set_patience(0.001);
  EXPECT_FALSE(silence(9));
  EXPECT_TRUE(silence(2));
}

}  // namespace
}  // namespace kangpt::sharding
