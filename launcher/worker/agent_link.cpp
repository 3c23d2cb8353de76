#include "launcher/worker/agent_link.hpp"

#include <time.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kangpt::launcher {

using nlohmann::json;

namespace {

std::string to_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::int64_t monotonic_nanoseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000L + now.tv_nsec;
}

// Adds "profile": seconds by phase, and "trace": [[phase, begin, duration], ...] in microseconds, of as many intervals
// as a message has room for.
void add_profile(json& report, const std::vector<PhaseProfile::Interval>& intervals) {
  constexpr std::size_t kMaxIntervals = 1024;
  std::map<std::string, double> seconds;
  json trace = json::array();
  for (const PhaseProfile::Interval& interval : intervals) {
    const std::string name(training::phase_name(static_cast<std::uint32_t>(interval.phase)));
    seconds[name] += static_cast<double>(interval.microseconds) * 1e-6;
    if (trace.size() < kMaxIntervals) trace.push_back({name, interval.begin_microseconds, interval.microseconds});
  }
  report["profile"] = seconds;
  report["trace"] = trace;
}

}  // namespace

void AgentLink::enter(training::Phase phase, std::uint64_t step) {
  if (await_device_) await_device_();
  const std::int64_t now = monotonic_nanoseconds();
  page_.step = step;
  page_.phase = static_cast<std::uint32_t>(phase);
  page_.monotonic_nanoseconds = now;
  if (profile_) profile_->enter(phase, now / 1000);
  faults_.enter(phase, step);
}

void AgentLink::report(const training::StepReport& r) {
  json report{{"kind", "step"},
              {"step", r.step},
              {"loss", r.loss},
              {"learning_rate", r.learning_rate},
              {"gradient_norm", r.gradient_norm},
              {"tokens", r.tokens},
              {"step_tokens", r.step_tokens},
              {"skipped", r.skipped},
              {"loss_spike", r.loss_spike},
              {"batch", r.batch},
              {"step_seconds", r.step_seconds},
              {"data_seconds", r.data_seconds},
              {"reduce_seconds", r.reduce_seconds},
              {"snapshot_seconds", r.snapshot_seconds}};
  if (profile_) add_profile(report, profile_->take(monotonic_nanoseconds() / 1000));
  agent_.send(sharding::MessageKind::kReport, 0, to_text(report));
}

void AgentLink::report(const training::ValidationReport& r) {
  agent_.send(sharding::MessageKind::kReport, 0,
              to_text({{"kind", "validation"},
                       {"step", r.step},
                       {"validation_loss", r.loss},
                       {"tokens", r.tokens},
                       {"seconds", r.seconds}}));
}

void AgentLink::report_sample(std::uint64_t step, const std::string& text) {
  agent_.send(sharding::MessageKind::kReport, 0, to_text({{"kind", "sample"}, {"step", step}, {"text", text}}));
}

void AgentLink::report_matrix_rate(double flops_per_second) {
  agent_.send(sharding::MessageKind::kReport, 0,
              to_text({{"kind", "matrix_rate"}, {"flops_per_second", flops_per_second}}));
}

}  // namespace kangpt::launcher
