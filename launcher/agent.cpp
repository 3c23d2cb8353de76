#include "launcher/agent.hpp"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

constexpr std::int64_t kNoSnapshot = -1;

// The newest step that every rank holds: ranks differ by one publication at most, and keep the one before.
std::int64_t newest_common_step(const std::vector<AgentStatus>& statuses) {
  std::int64_t common = std::numeric_limits<std::int64_t>::max();
  for (const AgentStatus& status : statuses)
    common = std::min(common, *std::ranges::max_element(status.snapshot_steps));
  return common;
}

std::string describe(int rank, const WorkerFailure& failure) {
  const std::string text = "rank " + std::to_string(rank) + ": " + failure.message;
  if (failure.code != ExitCode::kInternal) return text;
  return text + " (phase " + failure.phase + " of step " + std::to_string(failure.step) + ")";
}

}  // namespace

Agent::Agent(const AgentParts& parts, AgentOptions options, const std::optional<io::TrainingState>& loaded)
    : parts_(parts), options_(std::move(options)), order_(options_.fresh_order) {
  if (loaded) use(*loaded, 0);
}

ExitCode Agent::run() {
  for (;;) {
    std::memset(static_cast<void*>(&parts_.memory.heartbeat()), 0, sizeof(sharding::HeartbeatPage));
    WorkerSession session(parts_, {options_.command, order_, options_.configuration}, snapshots_);
    const AgentStatus mine = session.run();
    const std::vector<AgentStatus> statuses = agree(session, mine);
    if (const std::optional<ExitCode> end = decide(statuses)) return *end;
    restore(statuses);
  }
}

std::vector<AgentStatus> Agent::agree(const WorkerSession& session, const AgentStatus& mine) {
  std::vector<AgentStatus> statuses;
  for (const std::string& text : parts_.group.all_gather(to_text(mine))) statuses.push_back(status_from_text(text));
  int notices = 0;
  for (int rank = 0; rank < parts_.group.size(); ++rank) {
    if (rank != parts_.group.rank() && statuses[static_cast<std::size_t>(rank)].notified) ++notices;
  }
  for (int seen = session.notices_received(); seen < notices;) {
    parts_.group.receive(kFailureTopic) ? void(++seen) : void(::poll(nullptr, 0, 1));
  }
  const auto newest =
      std::ranges::max_element(statuses, {}, [](const AgentStatus& status) { return status.exchange.begun; });
  parts_.exchanges.drain(newest->exchange);
  const bool same_checkpoint =
      std::ranges::all_of(statuses, [&](const AgentStatus& s) { return s.checkpoint == mine.checkpoint; });
  if (!same_checkpoint) parts_.checkpoints.abandon();
  return statuses;
}

std::optional<ExitCode> Agent::decide(const std::vector<AgentStatus>& statuses) {
  const bool all_finished = std::ranges::all_of(statuses, [](const AgentStatus& s) { return s.finished.has_value(); });
  if (all_finished) {
    const auto unwell =
        std::ranges::find_if(statuses, [](const AgentStatus& s) { return *s.finished != ExitCode::kDone; });
    return unwell == statuses.end() ? ExitCode::kDone : *unwell->finished;
  }
  report(statuses);
  for (const AgentStatus& status : statuses) {
    if (status.failure && status.failure->code != ExitCode::kInternal) return status.failure->code;
  }
  if (!making_progress(newest_common_step(statuses))) {
    if (parts_.log != nullptr) {
      parts_.log->event("gave_up", {{"restarts", restarts_}},
                        "no new step in " + std::to_string(restarts_without_progress_) +
                            " restarts (fault.no_progress_limit): the same failure would come again, so this run ends");
    }
    return ExitCode::kNoProgress;
  }
  if (restarts_ >= options_.max_restarts) {
    if (parts_.log != nullptr) {
      parts_.log->event("gave_up", {{"restarts", restarts_}},
                        "the workers were restarted " + std::to_string(restarts_) +
                            " times (fault.max_restarts); the same command goes on from the last checkpoint");
    }
    return options_.max_restarts == 0 ? ExitCode::kInternal : ExitCode::kGaveUp;
  }
  return std::nullopt;
}

bool Agent::making_progress(std::int64_t step) {
  restarts_without_progress_ = step == last_restored_step_ ? restarts_without_progress_ + 1 : 0;
  last_restored_step_ = step;
  return options_.no_progress_limit == 0 || restarts_without_progress_ < options_.no_progress_limit;
}

void Agent::report(const std::vector<AgentStatus>& statuses) {
  if (parts_.log == nullptr) return;
  for (const AgentStatus& status : statuses) parts_.log->remember_faults(status.fired_faults);
  for (std::size_t rank = 0; rank < statuses.size(); ++rank) {
    if (!statuses[rank].failure) continue;
    const WorkerFailure& failure = *statuses[rank].failure;
    parts_.log->event("failure",
                      {{"rank", rank},
                       {"signal", failure.signal},
                       {"phase", failure.phase},
                       {"step", failure.step},
                       {"exit_code", static_cast<int>(failure.code)},
                       {"cause", failure.message}},
                      describe(static_cast<int>(rank), failure));
  }
}

void Agent::restore(const std::vector<AgentStatus>& statuses) {
  ++restarts_;
  for (const AgentStatus& status : statuses) options_.fresh_order.fired_faults |= status.fired_faults;
  order_.fired_faults = options_.fresh_order.fired_faults;
  const std::int64_t step = newest_common_step(statuses);
  if (!restore_snapshot(step)) {
    snapshots_ = {};
    order_ = options_.fresh_order;
    if (const std::optional<io::TrainingState> loaded = options_.load_checkpoint()) use(*loaded, 0);
  }
  if (parts_.log != nullptr) parts_.log->restarted(order_.slot < 0 ? 0 : order_.state.step);
}

bool Agent::restore_snapshot(std::int64_t step) {
  if (step == kNoSnapshot) return false;
  const auto steps = steps_of(snapshots_);
  const auto slot = static_cast<std::size_t>(std::ranges::find(steps, step) - steps.begin());
  const bool intact = slot < steps.size() &&
                      sharding::slot_checksum(parts_.memory.slot(static_cast<int>(slot))) == snapshots_[slot]->checksum;
  if (!intact) base::log_warning("the snapshot of step " + std::to_string(step) + " in memory is damaged");
  if (!on_every_rank(intact)) return false;
  use(snapshots_[slot]->state, static_cast<int>(slot));
  return true;
}

void Agent::use(io::TrainingState state, int slot) {
  const std::uint64_t checksum = sharding::slot_checksum(parts_.memory.slot(slot));
  snapshots_ = {};
  snapshots_[static_cast<std::size_t>(slot)] = Snapshot{state, checksum};
  order_.slot = slot;
  order_.state = state;
}

bool Agent::on_every_rank(bool mine) {
  const std::vector<std::string> answers = parts_.group.all_gather(mine ? "yes" : "no");
  return std::ranges::all_of(answers, [](const std::string& answer) { return answer == "yes"; });
}

}  // namespace kangpt::launcher
