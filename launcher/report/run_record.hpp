// What the files of one run directory say, in memory that does not grow with the run.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launcher/record/run_summary.hpp"
#include "launcher/report/curve.hpp"

namespace kangpt::report {

// The newest of many; `dropped` counts the others.
template <typename T>
struct Newest {
  static constexpr std::size_t kMost = 500;
  std::deque<T> values;
  std::uint64_t dropped = 0;

  void add(T value) {
    values.push_back(std::move(value));
    if (values.size() <= kMost) return;
    values.pop_front();
    ++dropped;
  }
};

struct Start {
  double time = 0;  // Unix seconds, as all times here
  double last_time = 0;
  std::uint64_t step = 0;       // it went on behind this one
  std::uint64_t last_step = 0;  // as far as events say
  int world_size = 0;
  int threads = 0;
  std::string device;
  std::string host;
  std::string version;
  std::string changes;           // of settings; one a line
  std::optional<int> exit_code;  // none: it was killed, or is under way
  bool is_of_earlier_metrics = false;
};

// Failures up to the restart, or the end, that they led to.
struct Incident {
  double time = 0;
  std::uint64_t step = 0;
  std::vector<std::string> ranks;
  std::vector<std::string> causes;            // one for each of them
  std::optional<std::uint64_t> restarted_at;  // none: the start ended
  std::uint64_t lost_steps = 0;
  std::optional<double> recovery_seconds;
  bool is_of_earlier_metrics = false;
};

struct Notice {
  double time = 0;
  std::string text;
};

struct Events {
  launcher::RunHistory history;
  Newest<Start> starts;
  Newest<Incident> incidents;
  Newest<std::uint64_t> checkpoints;  // steps
  Newest<Notice> notices;             // whatever else happened that one would want to know
};

struct Metrics {
  explicit Metrics(std::size_t most_buckets);
  // By the names of metrics.jsonl: "loss", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second".
  std::map<std::string, Curve> curves;
  launcher::MetricsTotals totals;
  std::map<std::string, double> phase_seconds;  // of rank 0, over the logged steps
  bool is_profiled = false;                     // phase_seconds are those of log.profile
  std::uint64_t steps = 0;                      // the last one
  double last_time = 0;
  std::optional<double> first_loss;
  std::vector<std::string> csv_rows;  // at equal distances
  std::uint64_t csv_stride = 1;       // each of how many lines
};

struct Sample {
  std::uint64_t step = 0;
  std::string text;
};

struct Setting {
  std::string field;
  std::string value;
  std::string default_value;
};

struct RunRecord {
  std::filesystem::path directory;
  std::string name;
  Events events;
  Metrics metrics;
  std::vector<Sample> samples;  // at most kMostSamples, the first and the last among them
  std::uint64_t sample_files = 0;
  std::string sample_prompt;
  std::uint64_t total_steps = 0;  // train.steps; 0: not known
  std::vector<Setting> settings;  // that differ from their defaults
  std::optional<std::uint64_t> parameters;
  std::string digest;  // of summary.json, "": none
  std::uint64_t digest_step = 0;
  std::vector<std::uint64_t> checkpoints_on_disk;  // steps, ascending
  std::vector<std::string> problems;               // what could not be read, and why
};
inline constexpr std::size_t kMostSamples = 12;
inline constexpr std::size_t kLongestSampleBytes = 4000;

// Throws MissingInputError where `directory` is none, or holds no run; IoError where metrics.jsonl or events.jsonl
// can't be read. What is damaged, or only there in part, is told in `problems`. `detail`: how many points a curve may
// have.
RunRecord read_run(const std::filesystem::path& directory, std::size_t detail);

// The parts of it.
Events read_events(const std::filesystem::path& directory, std::vector<std::string>& problems);
Metrics read_metrics(const std::filesystem::path& directory, std::size_t detail, std::vector<std::string>& problems);

// The columns of csv_rows.
std::string csv_header();

}  // namespace kangpt::report
