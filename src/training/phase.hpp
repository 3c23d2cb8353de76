// The parts of a training step, as heartbeats, fault injection and reports name them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace kangpt::training {

enum class Phase : std::uint32_t {
  kStart,
  kData,
  kForward,
  kBackward,
  kReduce,
  kUpdate,
  kGather,
  kSnapshot,
  kCheckpoint,
  kValidation,
  kSample,
};

inline constexpr std::array<std::string_view, 11> kPhaseNames = {"start",      "data",       "forward", "backward",
                                                                 "reduce",     "update",     "gather",  "snapshot",
                                                                 "checkpoint", "validation", "sample"};

// "reduce"; "unknown" for a value that is no phase (it may come from a process gone mad).
constexpr std::string_view phase_name(std::uint32_t phase) {
  return phase < kPhaseNames.size() ? kPhaseNames[phase] : "unknown";
}

// Is told of every phase as it begins. `step` is the number of the step being computed, from 1.
class PhaseObserver {
 public:
  virtual ~PhaseObserver() = default;
  virtual void enter(Phase phase, std::uint64_t step) = 0;
};

}  // namespace kangpt::training
