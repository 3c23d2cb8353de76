// The line that shows how far long work is.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/terminal.hpp"

namespace kangpt::base {

// A piece of it, with what stands between it and the one before: {"  loss 2.5", 3}.
struct ProgressPart {
  std::string text;
  int importance = 0;  // where a line is too short, parts of the least importance are left out first
};

struct Progress {
  double done = 0;  // the fraction of the work, in [0, 1]; below 0: not known
  std::vector<ProgressPart> parts;
};

// As one line of at most style.columns: a bar in front where there is room for one, and the parts that fit.
std::string fit_progress(const Progress& progress, const LineStyle& style);

// On a terminal one line that is drawn again in its place, below all messages of base/log.hpp; elsewhere a plain line
// every few seconds. On standard error. Not thread-safe; one at a time in a process.
class ProgressLine {
 public:
  enum class PlainLines { kAtOnce, kAfterAWhile };  // short work may do without
  explicit ProgressLine(PlainLines plain = PlainLines::kAtOnce);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { finish(); }

  // Where it is time to: at most ten times a second. The end of the work is always shown.
  void show(const Progress& progress);
  // Once a second, so that it is seen again where another process wrote over it. Call it often.
  void refresh();
  // Takes it away.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point next_;
  Clock::time_point next_plain_;
  Clock::time_point drawn_;
  bool is_drawn_ = false;
};

}  // namespace kangpt::base
