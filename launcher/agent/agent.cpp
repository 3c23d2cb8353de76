#include "launcher/agent/agent.hpp"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.hpp"
#include "training/phase.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

constexpr std::int64_t kNoSnapshot = -1;
constexpr double kPatienceWithAgents = 2;  // times the longest time-out that an agent grants its worker
constexpr int kMostRollbacks = 20;
constexpr double kFirstPauseSeconds = 0.1;
constexpr double kLongestPauseSeconds = 5;
constexpr const char* kYes = "yes";
constexpr const char* kNo = "no";

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

// Each rank has failed in a way of its own; of what is left, all ranks say the same.
bool is_crash(const WorkerFailure& failure) {
  return failure.code == ExitCode::kInternal && !failure.bad_batch;
}

bool got_beyond_start(const AgentStatus& status) {
  return status.failure && status.failure->phase != training::phase_name(0);
}

// The batch that a later step consumes, if none more is left out until then.
std::uint64_t batch_of(std::uint64_t step, const io::TrainingState& from) {
  std::vector<std::uint64_t> left_out(from.left_out.newest.begin(), from.left_out.newest.begin() + from.left_out.count);
  std::ranges::sort(left_out);
  std::uint64_t batch = from.batches + (step - from.step - 1);
  for (const std::uint64_t passed_over : left_out) {
    if (passed_over >= from.batches && passed_over <= batch) ++batch;
  }
  return batch;
}

}  // namespace

Agent::Agent(const AgentParts& parts, AgentOptions options, const std::optional<io::TrainingState>& loaded)
    : parts_(parts),
      options_(std::move(options)),
      program_(options_.worker_program),
      order_(options_.fresh_order),
      hangs_(options_.hang_timeout_seconds) {
  options_.command.program = &program_;
  parts_.group.set_patience(kPatienceWithAgents * hangs_.longest_timeout_seconds());
  if (!loaded) return;
  use({*loaded, sharding::slot_checksum(parts_.memory.slot(0))}, 0);
  step_on_disk_ = static_cast<std::int64_t>(loaded->step);
}

ExitCode Agent::run() {
  for (;;) {
    std::memset(static_cast<void*>(&parts_.memory.heartbeat()), 0, sizeof(sharding::HeartbeatPage));
    std::vector<AgentStatus> statuses;
    {
      WorkerSession session(parts_,
                            {options_.command, order_, options_.configuration, options_.crash_file, to_be_written_},
                            snapshots_, hangs_);
      statuses = agree(session, session.run());
    }
    if (const std::optional<ExitCode> end = decide(statuses)) return *end;
    restore(statuses);
    pause();
  }
}

std::vector<AgentStatus> Agent::agree(const WorkerSession& session, const AgentStatus& mine) {
  report_own(mine);
  std::vector<AgentStatus> statuses;
  for (const std::string& text : parts_.group.all_gather(to_text(mine))) statuses.push_back(status_from_text(text));
  int notices = 0;
  for (int rank = 0; rank < parts_.group.size(); ++rank) {
    if (rank != parts_.group.rank() && statuses[static_cast<std::size_t>(rank)].notified) ++notices;
  }
  for (int seen = session.notices_received(); seen < notices;) {
    parts_.group.receive(kFailureTopic) ? void(++seen) : attend();
  }
  const auto newest =
      std::ranges::max_element(statuses, {}, [](const AgentStatus& status) { return status.exchange.begun; });
  parts_.exchanges.drain(newest->exchange);
  const auto [fewest, most] = std::ranges::minmax_element(statuses, {}, &AgentStatus::checkpoints_begun);
  if (fewest->checkpoints_begun != most->checkpoints_begun) parts_.checkpoints.forget_after(fewest->checkpoints_begun);
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
    save(statuses);
    return options_.end_code(status.failure->code);
  }
  count(statuses);
  const bool stopping = std::ranges::any_of(statuses, &AgentStatus::stop_requested);
  if (stopping && save(statuses)) return ExitCode::kStopped;  // the next worker might fail before it gets there
  return hopeless(statuses);
}

void Agent::count(const std::vector<AgentStatus>& statuses) {
  const std::int64_t step = newest_common_step(statuses);
  const bool is_rollback = bad_batch(statuses).has_value();
  const bool is_progress = step > newest_step_ || is_rollback;  // that batch will not be met again
  failures_without_progress_ = is_progress ? 0 : failures_without_progress_ + 1;
  reached_a_step_ = !is_progress && (reached_a_step_ || std::ranges::any_of(statuses, got_beyond_start));
  is_rollback ? ++rollbacks_ : ++crashes_;
  if (step > farthest_step_) rollbacks_ = is_rollback ? 1 : 0;
  newest_step_ = std::max(newest_step_, step);
  farthest_step_ = std::max(farthest_step_, step);
}

std::optional<ExitCode> Agent::hopeless(const std::vector<AgentStatus>& statuses) {
  if (rollbacks_ >= kMostRollbacks) {
    return give_up(
        ExitCode::kNoProgress,
        "the loss or gradient of " + std::to_string(rollbacks_) +
            " batches in a row was not finite: it is not the batches, so this run ends. A lower "
            "optimizer.learning_rate or an optimizer.gradient_clip_norm may help; so may an older checkpoint.",
        statuses);
  }
  if (failures_without_progress_ >= options_.no_progress_limit) {
    const std::string limit =
        " in " + std::to_string(failures_without_progress_) + " restarts (fault.no_progress_limit): ";
    if (!reached_a_step_) {
      return give_up(ExitCode::kGaveUp,
                     "no worker reached a step" + limit +
                         "something keeps them from starting; once it is gone, the same command goes on",
                     statuses);
    }
    return give_up(ExitCode::kNoProgress, "no new step" + limit + "the same failure would come again, so this run ends",
                   statuses);
  }
  if (bad_batch(statuses) || crashes_ <= options_.max_restarts) return std::nullopt;
  return give_up(options_.max_restarts == 0 ? ExitCode::kInternal : ExitCode::kGaveUp,
                 "the workers were restarted " + std::to_string(options_.max_restarts) +
                     " times (fault.max_restarts); the same command goes on from the last checkpoint",
                 statuses);
}

ExitCode Agent::give_up(ExitCode code, const std::string& why, const std::vector<AgentStatus>& statuses) {
  save(statuses);
  if (parts_.log != nullptr) parts_.log->event("gave_up", {{"restarts", restarts_}}, why);
  return code;
}

// Not where the policy is to go back to the newest checkpoint on disk.
bool Agent::save(const std::vector<AgentStatus>& statuses) {
  finish_checkpoint();
  const std::int64_t step = newest_common_step(statuses);
  if (bad_batch(statuses) || step <= 0) return false;
  if (step <= step_on_disk_ || is_written(step)) return true;
  if (!restore_snapshot(step)) return false;
  parts_.checkpoints.begin(parts_.memory.slot(order_.slot), *snapshots_[static_cast<std::size_t>(order_.slot)]);
  finish_checkpoint();
  if (!is_written(step)) return false;
  if (parts_.log != nullptr) {
    parts_.log->event("saved", {{"step", step}},
                      "saved what was in memory as the checkpoint of step " + std::to_string(step));
  }
  return true;
}

// Rank 0 knows. REQUIRES: none is in flight.
bool Agent::is_written(std::int64_t step) {
  const CheckpointWriter& checkpoints = parts_.checkpoints;
  const bool written = checkpoints.newest_step() == step && checkpoints.last_error().empty();
  return parts_.group.broadcast(written ? kYes : kNo) == kYes;
}

void Agent::finish_checkpoint() {
  while (!parts_.checkpoints.idle()) attend();
}

// What starts that fail need is perhaps time: a file system that is away for a moment, a GPU that is still taken.
void Agent::pause() {
  if (failures_without_progress_ == 0) return;
  const double seconds =
      std::min(kFirstPauseSeconds * std::pow(2.0, failures_without_progress_ - 1), kLongestPauseSeconds);
  const auto end = HangDetector::Clock::now() + std::chrono::duration<double>(seconds);
  while (HangDetector::Clock::now() < end) attend();
}

// Wherever an agent without a worker waits.
void Agent::attend() {
  parts_.checkpoints.progress();
  parts_.group.attend();
  end_if_interrupted_twice(parts_);
  ::poll(nullptr, 0, 1);
}

// Before others are waited for: they may never answer.
void Agent::report_own(const AgentStatus& mine) {
  if (!mine.failure) return;
  const std::string message = describe(parts_.group.rank(), *mine.failure);
  if (parts_.log != nullptr) return report_failure(0, *mine.failure, message);
  if (is_crash(*mine.failure)) base::log_warning(message);
}

void Agent::report(const std::vector<AgentStatus>& statuses) {
  if (parts_.log == nullptr) return;
  for (const AgentStatus& status : statuses) parts_.log->remember_faults(status.fired_faults);
  std::uint64_t failed_step = 0;
  for (std::size_t rank = 0; rank < statuses.size(); ++rank) {
    if (!statuses[rank].failure) continue;
    const WorkerFailure& failure = *statuses[rank].failure;
    const bool was_said = rank == 0 || is_crash(failure);
    if (rank > 0)
      report_failure(static_cast<int>(rank), failure, was_said ? "" : describe(static_cast<int>(rank), failure));
    failed_step = std::max(failed_step, failure.step);
    if (!is_crash(failure)) break;  // all ranks say the same
  }
  report_repetition(failed_step);
}

// HDF5, which knows the samples, is in use while a checkpoint is being written.
void Agent::report_repetition(std::uint64_t failed_step) {
  if (std::exchange(last_failed_step_, failed_step) != failed_step || failed_step <= order_.state.step) return;
  const std::uint64_t batch = batch_of(failed_step, order_.state);
  std::string samples = "batch " + std::to_string(batch);
  try {
    if (parts_.checkpoints.idle()) parts_.group.attend_while([&] { samples = options_.describe_batch(batch); });
  } catch (const std::exception& error) {
    samples += std::string(": ") + error.what();
  }
  parts_.log->event("repeated_failure", {{"step", failed_step}, {"samples", samples}},
                    "step " + std::to_string(failed_step) + " failed again; " + samples);
}

void Agent::report_failure(int rank, const WorkerFailure& failure, const std::string& message) {
  parts_.log->event("failure",
                    {{"rank", rank},
                     {"signal", failure.signal},
                     {"phase", failure.phase},
                     {"step", failure.step},
                     {"stuck_seconds", failure.stuck_seconds},
                     {"exit_code", static_cast<int>(failure.code)},
                     {"cause", failure.message}},
                    message);
}

void Agent::restore(const std::vector<AgentStatus>& statuses) {
  ++restarts_;
  for (const AgentStatus& status : statuses) options_.fresh_order.fired_faults |= status.fired_faults;
  order_.fired_faults = options_.fresh_order.fired_faults;
  if (bad_batch(statuses) || !restore_snapshot(newest_common_step(statuses))) restore_from_disk(statuses);
  if (parts_.log != nullptr) parts_.log->restarted(order_.state.step);
  to_be_written_ = is_lost_checkpoint(statuses);
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
  step_on_disk_ = newest_step_ = static_cast<std::int64_t>(order_.state.step);
}

void Agent::use(const Snapshot& snapshot, int slot) {
  snapshots_ = {};
  snapshots_[static_cast<std::size_t>(slot)] = snapshot;
  order_.slot = slot;
  order_.state = snapshot.state;
}

// A checkpoint that failed, or that not all ranks had begun, is lost; if its step is not computed again, it would never
// come.
bool Agent::is_lost_checkpoint(const std::vector<AgentStatus>& statuses) const {
  const auto step = static_cast<std::int64_t>(order_.state.step);
  const bool wanted = std::ranges::any_of(statuses, [&](const AgentStatus& s) { return s.wanted_on_disk == step; });
  const bool begun = parts_.checkpoints.newest_step() == step && statuses[0].failed_checkpoint != step;
  return wanted && order_.slot >= 0 && !begun;
}

bool Agent::on_every_rank(bool mine) {
  const std::vector<std::string> answers = parts_.group.all_gather(mine ? kYes : kNo);
  return std::ranges::all_of(answers, [](const std::string& answer) { return answer == kYes; });
}

}  // namespace kangpt::launcher
