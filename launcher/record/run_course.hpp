// How the loss of a run went and what its failures took, over all its starts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace kangpt::launcher {

struct RunCourse {
  std::vector<double> losses;   // of the logged steps, those that are numbers
  std::uint64_t best_step = 0;  // with the least loss
  double best_loss = 0;
  double last_tokens_per_second = 0;  // 0: none was logged
  double recovery_seconds = 0;        // from failures to the steps after them, since the run began
};

// From metrics.jsonl and events.jsonl. Throws IoError.
RunCourse read_course(const std::filesystem::path& run_directory);

}  // namespace kangpt::launcher
