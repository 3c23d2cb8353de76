// What a run has been over all its starts, as events.jsonl and metrics.jsonl say: so a killed job forgets nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"

namespace kangpt::launcher {

// From events.jsonl, beginning with the last start that was a new run.
struct RunHistory {
  std::uint64_t starts = 0;
  std::uint64_t restarts = 0;               // of workers
  std::uint64_t lost_steps = 0;             // computed again, after a restart or in a later start
  std::vector<int> world_sizes;             // of the starts; equal ones in a row once
  std::string version;                      // of the last start's program
  std::string host;                         // of its rank 0
  std::string validation_data;              // what the last start validated on, "": not known
  std::multiset<std::string> fired_faults;  // of fault.inject
};
// Throws IoError.
RunHistory read_history(const std::filesystem::path& run_directory);

// Sums and extremes of lines of metrics.jsonl.
struct MetricsTotals {
  nlohmann::json loss;             // of the last step
  nlohmann::json validation_loss;  // of the last validation; null: none
  std::optional<double> best_validation_loss;
  std::uint64_t best_step = 0;
  double seconds = 0;  // of the steps that count
  double tokens = 0;

  // Of the time of which it is known, as lines of earlier versions are without; 0: of none.
  double mfu() const noexcept { return timed_ > 0 ? mfu_seconds_ / timed_ : 0; }
  // Throws nlohmann::json::exception where a field is missing or of another type.
  void add(const nlohmann::json& line);

 private:
  void add_step(const nlohmann::json& line);
  void add_validation(const nlohmann::json& line);

  double mfu_seconds_ = 0;  // MFU times seconds
  double timed_ = 0;        // seconds of the lines that have one
};

// The newest step in metrics.jsonl, 0 where there is none. Throws IoError.
std::uint64_t last_logged_step(const std::filesystem::path& run_directory);

// Writes summary.json about the run up to `checkpoint`, and returns its digest. Its "tokens" and "seconds" are those of
// the steps that count; steps that were lost are in "lost_steps" alone. Throws IoError, CheckpointError.
std::string write_summary(const std::filesystem::path& run_directory, const io::Checkpoint& checkpoint);

// True where summary.json is about another step, or missing, or damaged. Throws IoError.
bool lacks_summary_of(std::uint64_t step, const std::filesystem::path& run_directory);

}  // namespace kangpt::launcher
