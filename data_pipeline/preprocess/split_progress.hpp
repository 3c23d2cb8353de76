// How far the preparation of a split is, on the progress line.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/progress_line.hpp"

namespace kangpt::data {

// Not thread-safe.
class SplitProgress {
 public:
  // `total_bytes` 0: not known, no percentage and no time left.
  SplitProgress(std::string split, std::uint64_t total_bytes);

  void update(std::uint64_t done_bytes, std::uint64_t stories, std::uint64_t tokens);
  // Where nothing is encoded.
  void update(std::uint64_t done_bytes) { line_.show(progress(done_bytes)); }
  // Takes the line away.
  void finish() { line_.finish(); }
  double elapsed_seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  base::Progress progress(std::uint64_t done_bytes) const;

  std::string split_;
  std::uint64_t total_bytes_;
  base::ProgressLine line_{base::ProgressLine::PlainLines::kAfterAWhile};
  Clock::time_point start_ = Clock::now();
};

}  // namespace kangpt::data
