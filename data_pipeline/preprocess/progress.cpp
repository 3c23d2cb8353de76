#include "data_pipeline/preprocess/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/format.hpp"

namespace kangpt::data {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(200);
constexpr auto kLineInterval = std::chrono::seconds(5);

}  // namespace

Progress::Progress(std::string label, std::uint64_t total_bytes)
    : label_(std::move(label)), total_bytes_(total_bytes), redraw_(base::is_fancy_terminal(STDERR_FILENO)) {}

Progress::~Progress() {
  if (drawn_ && redraw_) std::fputc('\n', stderr);
}

double Progress::elapsed_seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void Progress::update(std::uint64_t done_bytes, const std::string& detail) {
  const Clock::time_point now = Clock::now();
  if (now - last_ < (redraw_ ? Clock::duration(kRedrawInterval) : Clock::duration(kLineInterval))) return;
  last_ = now;
  drawn_ = true;
  const double rate = static_cast<double>(done_bytes) / std::max(elapsed_seconds(), 1e-3);
  std::string text = label_ + ": " + base::format_bytes(static_cast<double>(done_bytes));
  if (total_bytes_ > 0) {
    const std::uint64_t done = std::min(done_bytes, total_bytes_);
    text += " of " + base::format_bytes(static_cast<double>(total_bytes_)) + " (" +
            std::to_string(done * 100 / total_bytes_) + " %)";
  }
  text += ", " + base::format_bytes(rate) + "/s";
  if (total_bytes_ > done_bytes && rate > 0) {
    text += ", " + base::format_duration(static_cast<double>(total_bytes_ - done_bytes) / rate) + " left";
  }
  if (!detail.empty()) text += ", " + detail;
  std::fprintf(stderr, redraw_ ? "\r\033[K%s" : "%s\n", text.c_str());
  std::fflush(stderr);
}

}  // namespace kangpt::data
