// A file for chrome://tracing or ui.perfetto.dev: the phases of rank 0's steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "launcher/record/append_file.hpp"

namespace kangpt::launcher {

// Holds the first steps of one start ("Trace Event Format", JSON array: a file cut off in the middle can be read too).
// Not thread-safe.
class TraceFile {
 public:
  static constexpr std::uint64_t kMaxSteps = 1000;

  // Replaces the file. Throws IoError where it can't.
  explicit TraceFile(const std::filesystem::path& path, AppendFile::Warn warn = base::log_warning);
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;
  ~TraceFile();

  // `intervals`: [[phase name, begin, duration], ...] in microseconds. Throws nlohmann::json::exception for anything
  // else.
  void add(std::uint64_t step, const nlohmann::json& intervals);

 private:
  AppendFile file_;
  std::uint64_t steps_ = 0;
};

}  // namespace kangpt::launcher
