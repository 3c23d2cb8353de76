// Finds a worker that stays in one phase of a step for too long.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "training/phase.hpp"

namespace kangpt::launcher {

// What an agent sees of its worker.
struct WorkerActivity {
  std::uint64_t step = 0;
  std::uint32_t phase = 0;  // training::Phase, or anything from a worker gone mad
  std::uint64_t messages = 0;
  std::uint64_t progress = 0;           // signs of life within a phase
  enum class Turn { kWorker, kAgent };  // whose turn it is: a worker that waits for its agent is never stuck
  Turn turn = Turn::kWorker;
  std::uint64_t collective = 0;  // number of the one in which it waits for other workers; 0: none
};

// Learns how long each phase takes from one sign of life to the next and allows a multiple of the longest: at least 20
// s, at most 10 minutes; 5 minutes for a phase that it has not seen. Lives longer than a worker, since the next one
// takes as long. A worker that waits for others is not stuck as long as one of those may turn out to be: it gets twice
// what any of them can get, and nothing is learnt of its waiting. Time in which the agent itself did not run (a
// suspended machine) does not count. Not thread-safe.
class HangDetector {
 public:
  using Clock = std::chrono::steady_clock;

  // `fixed_seconds`: the time-out of every phase, ten times as much for the start and a phase that is new; 0:
  // learnt.
  explicit HangDetector(double fixed_seconds) : fixed_seconds_(fixed_seconds) {}

  // A new worker begins.
  void restart(Clock::time_point now);
  // REQUIRES: called several times a second. The seconds without a sign of life, once they exceed the time-out. What
  // was too long once counts as half as long the next time, so that a slow machine is not taken for a hang for ever.
  std::optional<double> look(const WorkerActivity& activity, Clock::time_point now);

  double timeout_seconds(std::uint32_t phase) const;
  // No phase gets more.
  double longest_timeout_seconds() const noexcept;

 private:
  std::size_t index_of(std::uint32_t phase) const noexcept;
  bool is_new(std::uint32_t phase) const noexcept;

  double fixed_seconds_;
  std::array<double, training::kPhaseNames.size() + 1> longest_seconds_{};  // by phase; the last one: unknown phases
  std::uint64_t steps_seen_ = 0;
  WorkerActivity last_;
  Clock::time_point last_look_;
  double silent_seconds_ = 0;
};

}  // namespace kangpt::launcher
