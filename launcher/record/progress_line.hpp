// The line that shows how far training, or other long work, is.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kangpt::launcher {

struct Progress {
  std::uint64_t step = 0;
  std::uint64_t total_steps = 0;
  double loss = 0;
  double tokens_per_second = 0;
  double step_seconds = 0;
};

// On a terminal one line that is redrawn; elsewhere a plain line every few seconds. Writes to standard error.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  void show(const Progress& progress);
  // `done`: the fraction of the work, in [0, 1]; 1 is always shown, the others where it is time to.
  void show(double done, const std::string& text);
  // Before another message: ends the redrawn line.
  void interrupt();

 private:
  bool fancy_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace kangpt::launcher
