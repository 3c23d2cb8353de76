// What of a run's record TensorBoard shows, and under which names.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "launcher/record/tensorboard_writer.hpp"

namespace kangpt::launcher {

struct TensorboardOptions {
  std::filesystem::path run_directory;
  NamedSettings settings;
  double flops_per_token = 0;  // of the model; 0: unknown, and so what it makes of the processor
  bool is_new_run = false;     // whatever events.jsonl has from runs before
  AppendFile::Warn warn = base::log_warning;
};

// RUN/tensorboard/ has the curves of training, samples, settings and failures; tensorboard/validation/ the losses of
// validation, its "loss" under the same name, so that both stand in one chart. Not thread-safe.
class TensorboardRecord {
 public:
  // `next_step`: the first step that will be written. Throws IoError.
  TensorboardRecord(TensorboardOptions options, std::uint64_t next_step);

  void restart(std::uint64_t next_step);
  // A line of metrics.jsonl.
  void metrics(const nlohmann::json& line);
  void sample(std::uint64_t step, const std::string& text);
  // A line of events.jsonl: failures and what they cost become a table, the end of training closes the run.
  void event(const nlohmann::json& line);

 private:
  void remember(const nlohmann::json& event);
  void write_failures(std::uint64_t step);
  TensorboardWriter& validation(std::uint64_t next_step);

  TensorboardOptions options_;
  TensorboardWriter training_;
  std::optional<TensorboardWriter> validation_;
  std::deque<std::string> failures_;  // lines of the table
  std::uint64_t earlier_failures_ = 0;
};

}  // namespace kangpt::launcher
