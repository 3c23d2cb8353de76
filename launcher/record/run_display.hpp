// What rank 0 says of a run while it trains: the progress line, and messages above it.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/progress_line.hpp"

namespace kangpt::launcher {

struct StepNumbers {
  std::uint64_t step = 0;
  double loss = 0;
  double tokens_per_second = 0;
  double seconds = 0;
};

struct ValidationNumbers {
  std::uint64_t step = 0;
  double loss = 0;
  std::uint64_t tokens = 0;
  double seconds = 0;
};

// Not thread-safe.
class RunDisplay {
 public:
  explicit RunDisplay(std::uint64_t total_steps) : total_steps_(total_steps) {}

  void step(const StepNumbers& step);
  void validation(const ValidationNumbers& validation);
  void sample(std::uint64_t step, const std::string& text);
  // A line of events.jsonl that has a message: as information, warning or error by its kind.
  void event(const std::string& name, const nlohmann::json& line, const std::string& message);
  // Steps are computed again: the pace is measured anew.
  void restarted() { steps_timed_ = 0; }
  // Call it often.
  void attend() { progress_.refresh(); }
  void finish() { progress_.finish(); }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds_a_step(const StepNumbers& step);
  void say_pace(const StepNumbers& step, double left_seconds);

  std::uint64_t total_steps_;
  base::ProgressLine progress_;
  std::uint64_t steps_timed_ = 0;  // since timed_since_, without the one that ended then
  Clock::time_point timed_since_;
  bool is_pace_said_ = false;
};

}  // namespace kangpt::launcher
