#include "data_pipeline/preprocess/split_progress.hpp"

#include <algorithm>

#include "base/format.hpp"

namespace kangpt::data {
namespace {

constexpr double kNotKnown = -1;
constexpr double kAlmost = 0.999;  // the end is said by the counts

}  // namespace

SplitProgress::SplitProgress(std::string split, std::uint64_t total_bytes)
    : split_(std::move(split)), total_bytes_(total_bytes) {}

double SplitProgress::elapsed_seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

base::Progress SplitProgress::progress(std::uint64_t done_bytes) const {
  const double rate = static_cast<double>(done_bytes) / std::max(elapsed_seconds(), 1e-3);
  const std::uint64_t done = std::min(done_bytes, total_bytes_);
  base::Progress progress{.done = kNotKnown, .parts = {}};
  progress.parts.push_back({split_ + ": " + base::format_bytes(static_cast<double>(done_bytes)), 5});
  if (total_bytes_ > 0) {
    progress.done = std::min(static_cast<double>(done) / static_cast<double>(total_bytes_), kAlmost);
    progress.parts.push_back({" of " + base::format_bytes(static_cast<double>(total_bytes_)), 2});
    progress.parts.push_back({" (" + std::to_string(done * 100 / total_bytes_) + " %)", 4});
  }
  progress.parts.push_back({", " + base::format_bytes(rate) + "/s", 2});
  if (total_bytes_ > done_bytes && rate > 0) {
    progress.parts.push_back(
        {", " + base::format_duration(static_cast<double>(total_bytes_ - done_bytes) / rate) + " left", 3});
  }
  return progress;
}

void SplitProgress::update(std::uint64_t done_bytes, std::uint64_t stories, std::uint64_t tokens) {
  base::Progress progress = this->progress(done_bytes);
  progress.parts.push_back({", " + base::format_count(stories) + " stories", 1});
  progress.parts.push_back({", " + base::format_count(tokens) + " tokens", 0});
  line_.show(progress);
}

}  // namespace kangpt::data
