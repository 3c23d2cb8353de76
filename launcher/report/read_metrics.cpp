#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "launcher/record/json_lines.hpp"
#include "launcher/report/markup.hpp"
#include "launcher/report/run_record.hpp"

namespace kangpt::report {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 5> kCurves = {"loss", "validation_loss", "learning_rate", "gradient_norm",
                                                "tokens_per_second"};
constexpr std::array<const char*, 14> kColumns = {
    "step", "loss",         "validation_loss", "learning_rate",  "gradient_norm",    "tokens",   "tokens_per_second",
    "mfu",  "step_seconds", "data_seconds",    "reduce_seconds", "snapshot_seconds", "restarts", "world_size"};
constexpr std::size_t kMostPhases = 32;
constexpr const char* kProfile = "profile";

bool is_validation(const json& line) {
  return line.contains("validation_loss");
}

// A step that stands twice was computed again, and the file could not be shortened: what stands before the later line,
// from that step on, does not count.
class Repetitions {
 public:
  void add(std::uint64_t line, std::uint64_t step, bool of_validation) {
    std::optional<std::uint64_t>& last_of_kind = of_validation ? last_validation_ : last_step_;
    const bool repeats = step < last_ || (last_of_kind && step <= *last_of_kind);
    if (repeats) last_step_ = last_validation_ = std::nullopt;
    last_ = step;
    last_of_kind = step;
    if (!repeats) return;
    while (!found_.empty() && found_.back().step >= step) found_.pop_back();  // this one says more
    found_.push_back({line, step});
  }
  bool empty() const { return found_.empty(); }
  // Ascending in both, so the first later one has the lowest step.
  bool supersede(std::uint64_t line, std::uint64_t step) const {
    const auto later = std::ranges::upper_bound(found_, line, {}, &Repetition::line);
    return later != found_.end() && later->step <= step;
  }

 private:
  struct Repetition {
    std::uint64_t line;
    std::uint64_t step;
  };
  std::vector<Repetition> found_;
  std::uint64_t last_ = 0;
  std::optional<std::uint64_t> last_step_, last_validation_;
};

// Sums up the lines that count.
class MetricsReader {
 public:
  explicit MetricsReader(std::size_t detail) : most_rows_(2 * detail), metrics_(detail) {}
  void add(const json& line);
  Metrics take() { return std::move(metrics_); }

 private:
  void add_phases(const json& line);
  void add_phase(const std::string& name, const json& seconds);
  void add_row(const json& line);

  std::size_t most_rows_;
  std::uint64_t lines_ = 0;
  Metrics metrics_;
};

// What is not a number was not finite, where it is null.
double value_of(const json& value) {
  return value.is_number() ? value.get<double>() : std::nan("");
}

void MetricsReader::add(const json& line) {
  const std::uint64_t step = line.at("step");
  metrics_.totals.add(line);
  for (const char* name : kCurves) {
    if (line.contains(name)) metrics_.curves.at(name).add(static_cast<double>(step), value_of(line[name]));
  }
  if (!is_validation(line)) {
    metrics_.steps = step;
    metrics_.last_time = line.value("time", metrics_.last_time);
    if (!metrics_.first_loss && line["loss"].is_number()) metrics_.first_loss = line["loss"].get<double>();
    add_phases(line);
  }
  add_row(line);
}

void MetricsReader::add_phase(const std::string& name, const json& seconds) {
  const bool has_room = metrics_.phase_seconds.size() < kMostPhases || metrics_.phase_seconds.contains(name);
  if (seconds.is_number() && has_room) metrics_.phase_seconds[name] += seconds.get<double>();
}

void MetricsReader::add_phases(const json& line) {
  if (line.contains(kProfile) && line[kProfile].is_object()) {
    if (!metrics_.is_profiled) metrics_.phase_seconds.clear();
    metrics_.is_profiled = true;
    for (const auto& [phase, seconds] : line[kProfile].items()) add_phase(phase, seconds);
    return;
  }
  if (metrics_.is_profiled || !line.contains("step_seconds")) return;
  const double data = line.value("data_seconds", 0.0), reduce = line.value("reduce_seconds", 0.0);
  add_phase("data", data);
  add_phase("reduce", reduce);
  add_phase("snapshot", line.value("snapshot_seconds", 0.0));
  add_phase("forward, backward, update", std::max(line.value("step_seconds", 0.0) - data - reduce, 0.0));
}

void MetricsReader::add_row(const json& line) {
  if (lines_++ % metrics_.csv_stride != 0) return;
  std::vector<std::string>& rows = metrics_.csv_rows;
  if (rows.size() == most_rows_) {
    for (std::size_t i = 1; 2 * i < rows.size(); ++i) rows[i] = std::move(rows[2 * i]);
    rows.resize((rows.size() + 1) / 2);
    metrics_.csv_stride *= 2;
    if ((lines_ - 1) % metrics_.csv_stride != 0) return;
  }
  std::string row;
  for (const char* column : kColumns) {
    if (!row.empty()) row += ',';
    if (line.contains(column) && line[column].is_number()) row += line[column].dump();
  }
  rows.push_back(std::move(row));
}

}  // namespace

Metrics::Metrics(std::size_t most_buckets) {
  for (const char* name : kCurves) curves.emplace(name, most_buckets);
}

std::string csv_header() {
  std::string header;
  for (const char* column : kColumns) header += (header.empty() ? "" : ",") + std::string(column);
  return header;
}

Metrics read_metrics(const std::filesystem::path& directory, std::size_t detail, std::vector<std::string>& problems) {
  const std::filesystem::path file = directory / "metrics.jsonl";
  MetricsReader reader(detail);
  Repetitions repetitions;
  std::uint64_t index = 0;
  const std::uint64_t damaged = launcher::for_each_object(file, [&](const json& line) {
    const std::uint64_t here = index++;
    repetitions.add(here, line.at("step"), is_validation(line));
    reader.add(line);
  });
  if (damaged > 0)
    problems.push_back("metrics.jsonl: " + number(static_cast<double>(damaged)) +
                       " line(s) are damaged or not written to their end, and are left out");
  if (repetitions.empty()) return reader.take();
  problems.emplace_back("metrics.jsonl has steps that were computed again; the later values count");
  MetricsReader again(detail);
  index = 0;
  launcher::for_each_object(file, [&](const json& line) {
    const std::uint64_t here = index++;
    if (!repetitions.supersede(here, line.at("step"))) again.add(line);
  });
  return again.take();
}

}  // namespace kangpt::report
