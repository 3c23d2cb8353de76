#include "tools/chaos/chaos.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "tools/chaos/chaos_job.hpp"
#include "tools/chaos/harmed_run.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

json read_json(const fs::path& file) {
  return fs::exists(file) ? json::parse(base::read_file(file), nullptr, false) : json();
}

std::string digest_of(const fs::path& run_directory) {
  const json summary = read_json(run_directory / "summary.json");
  return summary.is_object() ? summary.value("digest", "") : "";
}

void add_run(ChaosReport& report, const HarmedRun& run) {
  const RunEvents events = read_events(run.directory());
  report.recovery_seconds.insert(report.recovery_seconds.end(), events.recovery_seconds.begin(),
                                 events.recovery_seconds.end());
  for (const std::uint64_t lost : events.steps_lost) {
    report.worker_restarts += 1;
    report.steps_lost += lost;
    report.most_steps_lost = std::max(report.most_steps_lost, lost);
  }
  for (std::size_t start = 1; start < events.steps_lost_by_start.size(); ++start) {
    const std::uint64_t lost = events.steps_lost_by_start[start];
    report.starts += 1;
    report.steps_lost_by_starts += lost;
    const MemoryLoss loss = run.loss_before(start);
    if (loss == MemoryLoss::kAll) continue;
    std::uint64_t& most = loss == MemoryLoss::kNone ? report.most_steps_lost_by_start : report.most_steps_lost_by_node;
    most = std::max(most, lost);
  }
  for (const auto& [fault, count] : run.counts()) {
    report.kinds[static_cast<std::size_t>(fault)].faults += count;
    report.faults += count;
  }
  for (const auto& [fault, found] : run.recoveries()) {
    std::vector<double>& all = report.kinds[static_cast<std::size_t>(fault)].recovery_seconds;
    all.insert(all.end(), found.begin(), found.end());
  }
}

// Leaves nothing of it in memory, however it ends.
std::string run_and_clean_up(HarmedRun& run, int faults) {
  try {
    const std::string problem = run.run(faults);
    run.remove_memory();
    return problem;
  } catch (const ChaosStopped&) {
    run.remove_memory();
    throw;
  }
}

struct Undisturbed {
  double seconds = 0;
  std::string digest;
};

Undisturbed run_undisturbed(const ChaosPlace& place) {
  const Clock::time_point start = Clock::now();
  HarmedRun run(place, 0, 0);
  const std::string problem = run_and_clean_up(run, 0);
  const Undisturbed reference{std::chrono::duration<double>(Clock::now() - start).count(), digest_of(run.directory())};
  if (!problem.empty() || reference.digest.empty())
    throw InternalError("the undisturbed run failed: " + problem + "; see " + run.directory().string() + ".log");
  base::log_info("undisturbed: " + std::to_string(reference.seconds) + " s, digest " + reference.digest);
  return reference;
}

void harm_one(const ChaosOptions& options, HarmedRun& run, const std::string& digest, ChaosReport& report) {
  std::string what = run_and_clean_up(run, options.faults_per_run);
  if (what.empty() && digest_of(run.directory()) != digest) what = "ended with another digest";
  add_run(report, run);
  const std::string number = std::to_string(++report.runs);
  what.empty() ? void(++report.equal_digests)
               : report.problems.push_back("run " + number + " " + what + "; see " + run.directory().string() + ".log");
  base::log_info("run " + number + " of " + std::to_string(options.runs) + ": " + std::to_string(report.faults) +
                 " faults so far" + (what.empty() ? "" : "; it " + what));
}

}  // namespace

ChaosReport run_chaos(const ChaosOptions& options) {
  if (fs::exists(options.directory)) throw ConfigError(options.directory.string() + " exists; choose another folder");
  base::make_directories(options.directory);
  launcher::StopSignals signals;
  const PretendedNodes nodes(options.nodes);
  const ChaosPlace place{options, nodes, signals};
  const SegmentFolder segments;
  ChaosReport report{.nodes = options.nodes};
  for (const char* name : kFaultNames) report.kinds.push_back({name});
  try {
    const Undisturbed reference = run_undisturbed(place);
    report.steps = read_json(options.directory / "run-0" / "summary.json").value("steps", std::uint64_t{0});
    for (int number = 1; number <= options.runs; ++number) {
      HarmedRun run(place, number, reference.seconds);
      harm_one(options, run, reference.digest, report);
    }
  } catch (const ChaosStopped&) {
    report.was_stopped = true;
  }
  return report;
}

}  // namespace kangpt::tools
