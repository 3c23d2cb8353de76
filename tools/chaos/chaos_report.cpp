#include "tools/chaos/chaos_report.hpp"

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

namespace kangpt::tools {
namespace {

using nlohmann::json;

// 0 where there is none.
double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double worst(const std::vector<double>& values) {
  return values.empty() ? 0 : std::ranges::max(values);
}

}  // namespace

std::string to_table(const ChaosReport& report) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2);
  const auto line = [&](const std::string& name, const auto& value) {
    text << "  " << std::left << std::setw(40) << name << value << '\n';
  };
  line("runs of " + std::to_string(report.steps) + " steps", report.runs);
  line("digest equal to the undisturbed run's", report.equal_digests);
  line("faults", report.faults);
  for (const ChaosReport::Kind& kind : report.kinds) {
    std::ostringstream value;
    value << std::fixed << std::setprecision(2) << kind.faults;
    if (!kind.recovery_seconds.empty())
      value << "; s to recover: median " << median(kind.recovery_seconds) << ", worst " << worst(kind.recovery_seconds);
    line("  " + kind.name, value.str());
  }
  line("restarts of the workers inside a job", report.worker_restarts);
  line("steps lost by them, all together", report.steps_lost);
  line("steps lost by one of them, at most", report.most_steps_lost);
  line("starts after the job was killed", report.starts);
  line("steps lost by them, all together", report.steps_lost_by_starts);
  line("by one whose memory was there, at most", report.most_steps_lost_by_start);
  if (report.nodes > 1) line("by one after a node's loss, at most", report.most_steps_lost_by_node);
  line("seconds to recover, median", median(report.recovery_seconds));
  line("seconds to recover, worst", worst(report.recovery_seconds));
  if (report.was_stopped) text << "  stopped by a signal; the run that it came in is left out\n";
  for (const std::string& problem : report.problems) text << "  " << problem << '\n';
  return text.str();
}

std::string to_json(const ChaosReport& report) {
  json kinds = json::object(), recoveries = json::object();
  for (const ChaosReport::Kind& kind : report.kinds) {
    kinds[kind.name] = kind.faults;
    if (kind.recovery_seconds.empty()) continue;
    recoveries[kind.name] = {{"median", median(kind.recovery_seconds)}, {"worst", worst(kind.recovery_seconds)}};
  }
  return json{{"nodes", report.nodes},
              {"was_stopped", report.was_stopped},
              {"runs", report.runs},
              {"steps", report.steps},
              {"equal_digests", report.equal_digests},
              {"faults", report.faults},
              {"faults_by_kind", kinds},
              {"worker_restarts", report.worker_restarts},
              {"steps_lost", report.steps_lost},
              {"most_steps_lost", report.most_steps_lost},
              {"starts", report.starts},
              {"steps_lost_by_starts", report.steps_lost_by_starts},
              {"most_steps_lost_by_start", report.most_steps_lost_by_start},
              {"most_steps_lost_by_node", report.most_steps_lost_by_node},
              {"recovery_seconds_by_kind", recoveries},
              {"median_recovery_seconds", median(report.recovery_seconds)},
              {"worst_recovery_seconds", worst(report.recovery_seconds)},
              {"problems", report.problems}}
             .dump(2) +
         "\n";
}

}  // namespace kangpt::tools
