#include "config/fault_plan.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"

namespace kangpt::config {
namespace {

TEST(FaultPlan, ReadsAllParts) {
  const FaultInjection expected{FaultKind::kSegv, 1, 40, StepPhase::kReduce};
  EXPECT_EQ(parse_fault_injection("segv@rank=1,step=40,phase=reduce"), expected);
  EXPECT_EQ(parse_fault_injection("SEGV@phase=REDUCE,step=40,rank=1"), expected);
  EXPECT_EQ(parse_fault_injection("kill@step=3"), (FaultInjection{FaultKind::kKill, 0, 3, StepPhase::kForward}));
}

TEST(FaultPlan, EveryKindAndPhaseSurvivesPrinting) {
  for (int kind = 0; kind <= static_cast<int>(FaultKind::kExit); ++kind) {
    for (int phase = 0; phase <= static_cast<int>(StepPhase::kCheckpoint); ++phase) {
      const FaultInjection injection{static_cast<FaultKind>(kind), kind, 7, static_cast<StepPhase>(phase)};
      EXPECT_EQ(parse_fault_injection(to_string(injection)), injection) << to_string(injection);
    }
  }
}

TEST(FaultPlan, SaysWhichPartIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "unknown kind of fault ''; valid: SEGV, KILL, ABORT, STOP, NAN, BITFLIP, EXIT"},
      {"crash@step=1", "unknown kind of fault 'crash'; valid: SEGV, KILL, ABORT, STOP, NAN, BITFLIP, EXIT"},
      {"kill", "step=S is missing, as in segv@rank=1,step=40,phase=reduce"},
      {"kill@rank=1", "step=S is missing, as in segv@rank=1,step=40,phase=reduce"},
      {"kill@step=0", "step needs a whole number from 1 to 18446744073709551615, found '0'"},
      {"kill@step=-1", "step needs a whole number from 1 to 18446744073709551615, found '-1'"},
      {"kill@step=4x", "step needs a whole number from 1 to 18446744073709551615, found '4x'"},
      {"kill@step=1,rank=99999999999", "rank needs a whole number from 0 to 2147483647, found '99999999999'"},
      {"kill@step=1,phase=sleep",
       "unknown phase 'sleep'; valid: data, forward, backward, reduce, update, gather, snapshot, checkpoint"},
      {"kill@step=1,node=2", "unknown part 'node=2'; valid: rank=R, step=S, phase=P"},
  };
  for (const auto& [text, message] : cases) {
    try {
      parse_fault_injection(text);
      ADD_FAILURE() << text << " was accepted";
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.what(), message) << text;
    }
  }
}

}  // namespace
}  // namespace kangpt::config
