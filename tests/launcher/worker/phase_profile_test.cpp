#include "launcher/worker/phase_profile.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launcher/record/trace_file.hpp"
#include "tests/support/files.hpp"

namespace kangpt::launcher {
namespace {

using training::Phase;

TEST(PhaseProfileTest, EachPhaseLastsUntilTheNextBegins) {
  PhaseProfile profile;
  profile.enter(Phase::kData, 100);
  profile.enter(Phase::kForward, 130);
  const auto first = profile.take(200);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].microseconds, 30);
  EXPECT_EQ(first[1].phase, Phase::kForward);
  EXPECT_EQ(first[1].begin_microseconds, 130);
  EXPECT_EQ(first[1].microseconds, 70);
  profile.enter(Phase::kSnapshot, 250);
  profile.enter(Phase::kData, 260);
  const auto second = profile.take(265);
  ASSERT_EQ(second.size(), 2u) << "what was taken is gone";
  EXPECT_EQ(second[0].microseconds, 10);
}

TEST(TraceFileTest, IsJsonAndHoldsTheFirstSteps) {
  const test::TemporaryDirectory folder;
  {
    TraceFile trace(folder / "trace.json");
    for (std::uint64_t step = 1; step <= TraceFile::kMaxSteps + 5; ++step)
      trace.add(step, {{"forward", 1000 * step, 400}, {"backward", 1000 * step + 400, 500}});
  }
  const auto events = nlohmann::json::parse(test::read_text(folder / "trace.json"));
  ASSERT_EQ(events.size(), 1 + 2 * TraceFile::kMaxSteps);
  EXPECT_EQ(events[0]["ph"], "M");
  EXPECT_EQ(events[2]["name"], "backward");
  EXPECT_EQ(events[2]["ts"], 1400);
  EXPECT_EQ(events[2]["dur"], 500);
  EXPECT_EQ(events[2]["args"]["step"], 1);
}

}  // namespace
}  // namespace kangpt::launcher
