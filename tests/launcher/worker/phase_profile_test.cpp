#include "launcher/worker/phase_profile.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launcher/record/trace_file.hpp"
#include "launcher/worker/agent_link.hpp"
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

// Else a phase would end before what it gave a GPU to do.
TEST(AgentLinkTest, ThePhasesThatAreTimedWaitForTheDevice) {
  sharding::SocketPair sockets = sharding::make_socket_pair();
  sharding::HeartbeatPage page{};
  FaultInjector faults({}, 0, 0, {}, {});
  int waits = 0;
  AgentLink timed(sockets.worker, page, faults, [&] {
    EXPECT_EQ(page.step.load(), static_cast<std::uint64_t>(waits)) << "before the next phase begins";
    ++waits;
  });
  for (std::uint64_t step = 1; step <= 3; ++step) timed.enter(Phase::kForward, step);
  EXPECT_EQ(waits, 3);
  AgentLink not_timed(sockets.worker, page, faults, nullptr);
  not_timed.enter(Phase::kForward, 4);
  EXPECT_EQ(waits, 3) << "who asks for no times waits for nothing";
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
