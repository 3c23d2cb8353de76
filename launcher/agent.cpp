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

// The batch to leave out from now on, if a worker asks for that.
std::optional<std::uint64_t> bad_batch(const std::vector<AgentStatus>& statuses) {
  for (const AgentStatus& status : statuses) {
    if (status.failure && status.failure->bad_batch) return status.failure->bad_batch;
  }
  return std::nullopt;
}

}  // namespace

Agent::Agent(const AgentParts& parts, AgentOptions options, const std::optional<io::TrainingState>& loaded)
    : parts_(parts), options_(std::move(options)), order_(options_.fresh_order), hangs_(options_.hang_timeout_seconds) {
  if (loaded) use({*loaded, sharding::slot_checksum(parts_.memory.slot(0))}, 0);
}

ExitCode Agent::run() {
  for (;;) {
    std::memset(static_cast<void*>(&parts_.memory.heartbeat()), 0, sizeof(sharding::HeartbeatPage));
    std::vector<AgentStatus> statuses;
    {
      WorkerSession session(parts_, {options_.command, order_, options_.configuration, options_.crash_file}, snapshots_,
                            hangs_);
      statuses = agree(session, session.run());
    }
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
    if (!status.failure || status.failure->code == ExitCode::kInternal) continue;
    finish_checkpoint();
    return status.failure->code;
  }
  if (!making_progress(newest_common_step(statuses))) {
    return give_up(ExitCode::kNoProgress,
                   "no new step in " + std::to_string(restarts_without_progress_) +
                       " restarts (fault.no_progress_limit): the same failure would come again, so this run ends",
                   statuses);
  }
  if (restarts_ >= options_.max_restarts) {
    return give_up(options_.max_restarts == 0 ? ExitCode::kInternal : ExitCode::kGaveUp,
                   "the workers were restarted " + std::to_string(restarts_) +
                       " times (fault.max_restarts); the same command goes on from the last checkpoint",
                   statuses);
  }
  return std::nullopt;
}

// What is in memory would be lost: it goes to disk first.
ExitCode Agent::give_up(ExitCode code, const std::string& why, const std::vector<AgentStatus>& statuses) {
  finish_checkpoint();
  const std::int64_t step = newest_common_step(statuses);
  if (!bad_batch(statuses) && restore_snapshot(step) && parts_.checkpoints.newest_step() != step) {
    parts_.checkpoints.begin(parts_.memory.slot(order_.slot), order_.state);
    finish_checkpoint();
  }
  if (parts_.log != nullptr) parts_.log->event("gave_up", {{"restarts", restarts_}}, why);
  return code;
}

void Agent::finish_checkpoint() {
  while (!parts_.checkpoints.idle()) {
    parts_.checkpoints.progress();
    ::poll(nullptr, 0, 1);
  }
}

bool Agent::making_progress(std::int64_t step) {
  restarts_without_progress_ = step > newest_step_ ? 0 : restarts_without_progress_ + 1;
  newest_step_ = std::max(newest_step_, step);
  return restarts_without_progress_ < options_.no_progress_limit;
}

void Agent::report(const std::vector<AgentStatus>& statuses) {
  if (parts_.log == nullptr) return;
  for (const AgentStatus& status : statuses) parts_.log->remember_faults(status.fired_faults);
  std::uint64_t failed_step = 0;
  for (std::size_t rank = 0; rank < statuses.size(); ++rank) {
    if (!statuses[rank].failure) continue;
    const WorkerFailure& failure = *statuses[rank].failure;
    report_failure(static_cast<int>(rank), failure);
    failed_step = std::max(failed_step, failure.step);
    if (failure.bad_batch || failure.code != ExitCode::kInternal) break;  // all ranks say the same
  }
  if (std::exchange(last_failed_step_, failed_step) != failed_step || failed_step <= order_.state.step) return;
  const std::string samples = options_.describe_batch(order_.state.batches + failed_step - 1 - order_.state.step);
  parts_.log->event("repeated_failure", {{"step", failed_step}, {"samples", samples}},
                    "step " + std::to_string(failed_step) + " failed again; " + samples);
}

void Agent::report_failure(int rank, const WorkerFailure& failure) {
  parts_.log->event("failure",
                    {{"rank", rank},
                     {"signal", failure.signal},
                     {"phase", failure.phase},
                     {"step", failure.step},
                     {"stuck_seconds", failure.stuck_seconds},
                     {"exit_code", static_cast<int>(failure.code)},
                     {"cause", failure.message}},
                    describe(rank, failure));
}

void Agent::restore(const std::vector<AgentStatus>& statuses) {
  ++restarts_;
  for (const AgentStatus& status : statuses) options_.fresh_order.fired_faults |= status.fired_faults;
  order_.fired_faults = options_.fresh_order.fired_faults;
  if (bad_batch(statuses) || !restore_snapshot(newest_common_step(statuses))) restore_from_disk(statuses);
  if (parts_.log != nullptr) parts_.log->restarted(order_.state.step);
  write_again(statuses);
}

bool Agent::restore_snapshot(std::int64_t step) {
  if (step == kNoSnapshot) return false;
  const auto steps = steps_of(snapshots_);
  const auto slot = static_cast<std::size_t>(std::ranges::find(steps, step) - steps.begin());
  const bool intact = slot < steps.size() &&
                      sharding::slot_checksum(parts_.memory.slot(static_cast<int>(slot))) == snapshots_[slot]->checksum;
  if (!intact) base::log_warning("the snapshot of step " + std::to_string(step) + " in memory is damaged");
  if (!on_every_rank(intact)) return false;
  use(Snapshot(*snapshots_[slot]), static_cast<int>(slot));
  return true;
}

// The checkpoint in flight is finished first: it may be the newest.
void Agent::restore_from_disk(const std::vector<AgentStatus>& statuses) {
  finish_checkpoint();
  io::LeftOutBatches left_out = order_.state.left_out;
  if (const std::optional<std::uint64_t> batch = bad_batch(statuses)) left_out.add(*batch);
  snapshots_ = {};
  order_ = options_.fresh_order;
  std::optional<io::TrainingState> loaded = options_.load_checkpoint();
  if (loaded) {
    loaded->left_out = left_out;
    use({*loaded, sharding::slot_checksum(parts_.memory.slot(0))}, 0);
  }
  order_.state.left_out = left_out;
}

void Agent::use(const Snapshot& snapshot, int slot) {
  snapshots_ = {};
  snapshots_[static_cast<std::size_t>(slot)] = snapshot;
  order_.slot = slot;
  order_.state = snapshot.state;
}

// A checkpoint that only some ranks had begun is lost; if its step is not computed again, it would never come.
void Agent::write_again(const std::vector<AgentStatus>& statuses) {
  const auto step = static_cast<std::int64_t>(order_.state.step);
  const bool wanted = std::ranges::any_of(statuses, [&](const AgentStatus& s) { return s.wanted_on_disk == step; });
  if (!wanted || order_.slot < 0 || parts_.checkpoints.newest_step() == step) return;
  finish_checkpoint();
  parts_.checkpoints.begin(parts_.memory.slot(order_.slot), order_.state);
}

bool Agent::on_every_rank(bool mine) {
  const std::vector<std::string> answers = parts_.group.all_gather(mine ? "yes" : "no");
  return std::ranges::all_of(answers, [](const std::string& answer) { return answer == "yes"; });
}

}  // namespace kangpt::launcher
