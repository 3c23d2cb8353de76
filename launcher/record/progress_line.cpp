#include "launcher/record/progress_line.hpp"

#include <unistd.h>

#include <array>
#include <cstdio>

#include "base/format.hpp"

namespace kangpt::launcher {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr std::chrono::seconds kPlainInterval{5};
constexpr int kBarCells = 20;

std::string describe(const Progress& p) {
  const double fraction = static_cast<double>(p.step) / static_cast<double>(p.total_steps);
  const double left_seconds = static_cast<double>(p.total_steps - p.step) * p.step_seconds;
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(), "step %llu/%llu (%3.0f %%)  loss %.4f  %.0f tokens/s  ETA ",
                static_cast<unsigned long long>(p.step), static_cast<unsigned long long>(p.total_steps), 100 * fraction,
                p.loss, p.tokens_per_second);
  return text.data() + base::format_duration(left_seconds);
}

std::string bar(double done) {
  const auto filled = static_cast<int>(kBarCells * done);
  std::string text = "[";
  for (int cell = 0; cell < kBarCells; ++cell) text += cell < filled ? '#' : '.';
  return text + "] ";
}

}  // namespace

ProgressLine::ProgressLine() : fancy_(base::is_fancy_terminal(STDERR_FILENO)) {}

ProgressLine::~ProgressLine() {
  interrupt();
}

void ProgressLine::show(const Progress& progress) {
  show(static_cast<double>(progress.step) / static_cast<double>(progress.total_steps), describe(progress));
}

void ProgressLine::show(double done, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_ && done < 1) return;
  if (fancy_) {
    next_ = now + kRedrawInterval;
    std::fprintf(stderr, "\r%s%s\x1b[K", bar(done).c_str(), text.c_str());
    drawn_ = true;
  } else {
    next_ = now + kPlainInterval;
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
}

void ProgressLine::interrupt() {
  if (drawn_) std::fputc('\n', stderr);
  drawn_ = false;
}

}  // namespace kangpt::launcher
