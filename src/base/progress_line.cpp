#include "base/progress_line.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/log.hpp"
#include "base/text_columns.hpp"

namespace kangpt::base {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr std::chrono::seconds kRefreshInterval{1};
constexpr std::chrono::seconds kPlainInterval{5};
constexpr int kFewestBarCells = 8;
constexpr int kMostBarCells = 30;
constexpr int kBarFrame = 3;  // two brackets and a blank
constexpr const char* kGreen = "32m";

// Without what sets the first part off from one before it.
std::string text_of(const std::vector<ProgressPart>& parts) {
  std::string text;
  for (const ProgressPart& part : parts) text += part.text;
  return text.substr(std::min(text.find_first_not_of(" ,"), text.size()));
}

std::string bar(double done, int cells, const LineStyle& style) {
  const int filled = static_cast<int>(std::clamp(done, 0.0, 1.0) * cells);
  std::string full, rest;
  for (int cell = 0; cell < cells; ++cell) {
    (cell < filled ? full : rest) += style.utf8 ? (cell < filled ? "━" : "┈") : (cell < filled ? "#" : ".");
  }
  return "[" + coloured(full, kGreen, style) + rest + "] ";
}

}  // namespace

std::string fit_progress(const Progress& progress, const LineStyle& style) {
  std::vector<ProgressPart> parts = progress.parts;
  std::string text = text_of(parts);
  while (parts.size() > 1 && columns_of(text) > style.columns) {
    parts.erase(std::ranges::min_element(parts, {}, &ProgressPart::importance));
    text = text_of(parts);
  }
  const int cells = std::min(style.columns - columns_of(text) - kBarFrame, kMostBarCells);
  if (progress.done < 0 || cells < kFewestBarCells) return cut_to_columns(text, style.columns);
  return bar(progress.done, cells, style) + text;
}

ProgressLine::ProgressLine(PlainLines plain) {
  if (plain == PlainLines::kAfterAWhile) next_plain_ = Clock::now() + kPlainInterval;
}

void ProgressLine::show(const Progress& progress) {
  const Clock::time_point now = Clock::now();
  const bool is_end = progress.done >= 1;
  if (now < next_ && !is_end) return;
  next_ = now + kRedrawInterval;
  drawn_ = now;
  is_drawn_ = show_status([progress](const LineStyle& style) { return fit_progress(progress, style); });
  if (is_drawn_ || (now < next_plain_ && !is_end)) return;
  next_plain_ = now + kPlainInterval;
  std::fprintf(stderr, "%s\n", text_of(progress.parts).c_str());
}

void ProgressLine::refresh() {
  if (!is_drawn_) return;
  const Clock::time_point now = Clock::now();
  if (now < drawn_ + kRefreshInterval) return;
  drawn_ = now;
  redraw_status();
}

void ProgressLine::finish() {
  if (is_drawn_) end_status();
  is_drawn_ = false;
}

}  // namespace kangpt::base
