#include "launcher/record/run_summary.hpp"

#include <algorithm>

#include "base/file.hpp"
#include "launcher/record/json_lines.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

constexpr const char* kSummaryName = "summary.json";

void add_start(const json& event, RunHistory& history) {
  if (event.value("new_run", json()) == true) history = {};
  history.starts += 1;
  history.lost_steps += event.value("steps_lost", std::uint64_t{0});
  history.version = event.value("version", "");
  history.host = event.value("host", "");
  history.validation_data = event.value("validation_data", "");
  const int world_size = event.value("world_size", 1);
  if (history.world_sizes.empty() || history.world_sizes.back() != world_size)
    history.world_sizes.push_back(world_size);
}

MetricsTotals read_metrics(const std::filesystem::path& run_directory, std::uint64_t last_step) {
  MetricsTotals totals;
  for_each_object(run_directory / "metrics.jsonl", [&](const json& line) {
    if (line.at("step") > last_step) return;
    totals.add(line);
  });
  return totals;
}

}  // namespace

void MetricsTotals::add(const json& line) {
  line.contains("validation_loss") ? add_validation(line) : add_step(line);
}

void MetricsTotals::add_step(const json& line) {
  loss = line.at("loss");
  const double tokens_now = line.at("tokens");
  const double rate = line.at("tokens_per_second");
  if (rate > 0) {
    const double taken = std::max(tokens_now - tokens, 0.0) / rate;
    seconds += taken;
    mfu_seconds_ += taken * line.value("mfu", 0.0);
    timed_ += line.contains("mfu") ? taken : 0;
  }
  tokens = tokens_now;
}

void MetricsTotals::add_validation(const json& line) {
  validation_loss = line.at("validation_loss");
  if (!validation_loss.is_number()) return;
  if (best_validation_loss && validation_loss >= *best_validation_loss) return;
  best_validation_loss = validation_loss.get<double>();
  best_step = line.at("step");
}

RunHistory read_history(const std::filesystem::path& run_directory) {
  RunHistory history;
  for_each_object(run_directory / "events.jsonl", [&](const json& event) {
    const std::string name = event.at("event");
    if (name == "start") add_start(event, history);
    if (name == "restart") {
      history.restarts += 1;
      history.lost_steps += event.value("steps_lost", std::uint64_t{0});
    }
    for (const json& fault : event.value("faults", json::array())) history.fired_faults.insert(fault);
  });
  return history;
}

std::uint64_t last_logged_step(const std::filesystem::path& run_directory) {
  std::uint64_t last = 0;
  for_each_object(run_directory / "metrics.jsonl",
                  [&](const json& line) { last = std::max(last, line.at("step").get<std::uint64_t>()); });
  return last;
}

std::string write_summary(const std::filesystem::path& run_directory, const io::Checkpoint& checkpoint) {
  const io::CheckpointManifest& manifest = checkpoint.manifest();
  const std::string digest = io::canonical_digest(checkpoint);
  const RunHistory history = read_history(run_directory);
  const MetricsTotals totals = read_metrics(run_directory, manifest.state.step);
  json summary{{"steps", manifest.state.step},
               {"digest", digest},
               {"loss", totals.loss},
               {"parameters", manifest.parameters.parameter_count},
               {"tokens", manifest.state.tokens},
               {"seconds", totals.seconds},
               {"tokens_per_second", totals.seconds > 0 ? json(totals.tokens / totals.seconds) : json()},
               {"mfu", totals.mfu() > 0 ? json(totals.mfu()) : json()},
               {"starts", history.starts},
               {"restarts", history.restarts},
               {"lost_steps", history.lost_steps},
               {"world_size", history.world_sizes.empty() ? json() : json(history.world_sizes.back())},
               {"world_sizes", history.world_sizes},
               {"version", history.version},
               {"host", history.host}};
  if (!totals.validation_loss.is_null()) summary["validation_loss"] = totals.validation_loss;
  if (totals.best_validation_loss) {
    summary["best_validation_loss"] = *totals.best_validation_loss;
    summary["best_step"] = totals.best_step;
  }
  base::write_file_atomically(run_directory / kSummaryName, summary.dump(2) + "\n");
  return digest;
}

bool lacks_summary_of(std::uint64_t step, const std::filesystem::path& run_directory) {
  const std::filesystem::path file = run_directory / kSummaryName;
  if (!std::filesystem::exists(file)) return true;
  const json summary = json::parse(base::read_file(file), nullptr, false);
  return !summary.is_object() || summary.value("steps", json()) != step;
}

}  // namespace kangpt::launcher
