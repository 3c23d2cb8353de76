// Faults that a run shall cause in itself, for tests of its recovery: the parsed form of fault.inject.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::config {

enum class FaultKind { kSegv, kKill, kAbort, kStop, kNan, kBitflip, kExit };

// The parts of one optimizer step, in their order.
enum class StepPhase { kData, kForward, kBackward, kReduce, kUpdate, kGather, kSnapshot, kCheckpoint };

// What has happened is remembered in the bits of one word.
inline constexpr std::size_t kMostFaults = 64;

struct FaultInjection {
  FaultKind kind = FaultKind::kSegv;
  int rank = 0;
  std::uint64_t step = 0;  // the step that is under way when it happens; the first step is 1
  StepPhase phase = StepPhase::kForward;

  bool operator==(const FaultInjection&) const = default;
};

// "segv@rank=1,step=40,phase=reduce"; letters in either case. `step` is required; rank 0 and phase forward are the
// defaults. Throws ConfigError that names the part that is wrong and the valid ones.
FaultInjection parse_fault_injection(std::string_view text);
std::vector<FaultInjection> parse_fault_injections(const std::vector<std::string>& texts);

std::string to_string(FaultKind kind);   // "SEGV"
std::string to_string(StepPhase phase);  // "reduce"
std::string to_string(const FaultInjection& injection);

}  // namespace kangpt::config
