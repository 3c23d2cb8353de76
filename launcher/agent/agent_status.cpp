#include "launcher/agent/agent_status.hpp"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

namespace kangpt::launcher {

using nlohmann::json;

std::string describe(int rank, const WorkerFailure& failure) {
  const std::string who = "rank " + std::to_string(rank);
  const std::string where = " in " + failure.phase + " at step " + std::to_string(failure.step);
  if (failure.stuck_seconds > 0) {
    std::ostringstream seconds;
    seconds << std::fixed << std::setprecision(1) << failure.stuck_seconds;
    return who + " " + failure.message + " " + seconds.str() + " s" + where +
           "; where that is no hang, set a longer fault.hang_timeout_seconds";
  }
  return who + ": " + failure.message + (failure.code == ExitCode::kInternal ? where : "");
}

std::string to_text(const AgentStatus& status) {
  json value{{"notified", status.notified},
             {"stop_requested", status.stop_requested},
             {"interrupted", status.interrupted},
             {"checkpoints_begun", status.checkpoints_begun},
             {"failed_checkpoint", status.failed_checkpoint},
             {"wanted_on_disk", status.wanted_on_disk},
             {"fired_faults", status.fired_faults},
             {"snapshot_steps", status.snapshot_steps},
             {"begun", status.exchange.begun},
             {"kind", static_cast<std::uint32_t>(status.exchange.kind)},
             {"argument", status.exchange.argument},
             {"input_bytes", status.exchange.input_bytes}};
  if (status.finished) value["finished"] = static_cast<int>(*status.finished);
  if (status.failure) {
    const WorkerFailure& failure = *status.failure;
    value["failure"] = {{"code", static_cast<int>(failure.code)},
                        {"message", failure.message},
                        {"step", failure.step},
                        {"phase", failure.phase},
                        {"signal", failure.signal},
                        {"stuck_seconds", failure.stuck_seconds}};
    if (failure.bad_batch) value["failure"]["bad_batch"] = *failure.bad_batch;
  }
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

AgentStatus status_from_text(const std::string& text) {
  const json value = json::parse(text);
  AgentStatus status;
  status.notified = value.at("notified");
  status.stop_requested = value.at("stop_requested");
  status.interrupted = value.at("interrupted");
  status.checkpoints_begun = value.at("checkpoints_begun");
  status.failed_checkpoint = value.at("failed_checkpoint");
  status.wanted_on_disk = value.at("wanted_on_disk");
  status.fired_faults = value.at("fired_faults");
  status.snapshot_steps = value.at("snapshot_steps");
  status.exchange = {value.at("begun"), static_cast<sharding::MessageKind>(value.at("kind").get<std::uint32_t>()),
                     value.at("argument"), value.at("input_bytes")};
  if (value.contains("finished")) status.finished = static_cast<ExitCode>(value["finished"].get<int>());
  if (value.contains("failure")) {
    const json& failure = value["failure"];
    status.failure = WorkerFailure{static_cast<ExitCode>(failure.at("code").get<int>()),
                                   failure.at("message"),
                                   failure.at("step"),
                                   failure.at("phase"),
                                   failure.at("signal"),
                                   failure.at("stuck_seconds"),
                                   std::nullopt};
    if (failure.contains("bad_batch")) status.failure->bad_batch = failure["bad_batch"].get<std::uint64_t>();
  }
  return status;
}

std::int64_t newest_common_step(const std::vector<AgentStatus>& statuses) {
  std::int64_t common = std::numeric_limits<std::int64_t>::max();
  for (const AgentStatus& status : statuses)
    common = std::min(common, *std::ranges::max_element(status.snapshot_steps));
  return common;
}

std::optional<std::uint64_t> bad_batch(const std::vector<AgentStatus>& statuses) {
  for (const AgentStatus& status : statuses) {
    if (status.failure && status.failure->bad_batch) return status.failure->bad_batch;
  }
  return std::nullopt;
}

SlotSteps steps_of(const Snapshots& snapshots) {
  SlotSteps steps{};
  for (std::size_t slot = 0; slot < steps.size(); ++slot) {
    steps[slot] = snapshots[slot] ? static_cast<std::int64_t>(snapshots[slot]->state.step) : -1;
  }
  return steps;
}

}  // namespace kangpt::launcher
