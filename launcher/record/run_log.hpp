// The files of a run directory that grow while it trains. Rank 0's agent owns it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launcher/record/append_file.hpp"
#include "launcher/record/run_display.hpp"
#include "launcher/record/tensorboard_record.hpp"
#include "launcher/record/trace_file.hpp"

namespace kangpt::launcher {

struct RunLogOptions {
  std::filesystem::path directory;
  std::uint64_t total_steps = 0;
  std::uint64_t interval_steps = 1;
  int world_size = 1;
  double validation_bytes_per_token = 0;  // 0: unknown, bits per byte is left out
  bool tensorboard = false;
  NamedSettings settings;      // as TensorBoard shows them
  double flops_per_token = 0;  // of the model; 0: unknown
  bool trace = false;
  std::vector<std::string> faults;  // fault.inject, at most 64
  bool is_new_run = false;          // whatever the directory has from starts before
};

// metrics.jsonl, events.jsonl, tensorboard/, trace.json, samples/. Lives in the agent, so that no crash of a worker can
// tear a line. Not thread-safe. Throws IoError when it is made; later failures to write do not stop training: what is
// missing is written once that works (AppendFile).
class RunLog {
 public:
  // `step` is where this start goes on: metrics of later steps are dropped, so that each step stands once. So are torn
  // lines, with a warning.
  RunLog(RunLogOptions options, std::uint64_t step);

  // A report of the worker: {"kind": "step" | "validation" | "sample" | "matrix_rate", ...}. Anything else is ignored
  // with a warning.
  void report(const nlohmann::json& report);
  // One line of events.jsonl: `fields` with "event" and "time" added. Also says it on the terminal if `message` is not
  // empty.
  void event(const std::string& name, const nlohmann::json& fields, const std::string& message = "");
  // The workers are started again and go on behind `step`.
  void restarted(std::uint64_t step);
  // Whenever rank 0's agent comes by.
  void attend() { display_.attend(); }
  // Tries once more to write what could not be written, and ends the progress line.
  void finish();

  // Which of options.faults have happened in this run, over all its starts, whatever the others had in their lists: bit
  // i is entry i.
  std::uint64_t fired_faults() const noexcept { return fired_faults_; }
  void remember_faults(std::uint64_t fired);

  std::uint64_t last_step() const noexcept { return last_step_; }

 private:
  using Clock = std::chrono::steady_clock;
  void find_fired_faults();
  void drop_steps_after(std::uint64_t step);
  void report_step(const nlohmann::json& report);
  void report_validation(const nlohmann::json& report);
  void report_sample(const nlohmann::json& report);
  void report_matrix_rate(const nlohmann::json& report);

  RunLogOptions options_;
  RunDisplay display_;
  AppendFile metrics_;
  AppendFile events_;
  std::optional<TensorboardRecord> tensorboard_;
  std::optional<TraceFile> trace_;
  std::uint64_t last_step_ = 0;
  std::uint64_t restarts_ = 0;
  std::uint64_t fired_faults_ = 0;
  std::optional<Clock::time_point> recovering_since_;  // the first failure since the last step
  double peak_flops_ = 0;                              // a second, of matrix products on all ranks; 0: not known yet
  // Since the last logged step.
  double interval_seconds_ = 0;
  double interval_tokens_ = 0;
};

}  // namespace kangpt::launcher
