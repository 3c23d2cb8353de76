// A progress line on standard error: redrawn on a terminal, a plain line every few seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kangpt::data {

// Not thread-safe.
class Progress {
 public:
  // `total_bytes` 0: not known, no percentage and no time left.
  Progress(std::string label, std::uint64_t total_bytes);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // ends a redrawn line

  // Shows the state if it is time to.
  void update(std::uint64_t done_bytes, const std::string& detail);
  double elapsed_seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  std::uint64_t total_bytes_;
  bool redraw_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

}  // namespace kangpt::data
