#include "launcher/agent/agent.hpp"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;

constexpr std::int64_t kNoSnapshot = -1;
constexpr double kPatienceWithAgents = 2;  // times the longest time-out that an agent grants its worker
constexpr double kFirstPauseSeconds = 0.1;
constexpr double kLongestPauseSeconds = 5;
constexpr const char* kYes = "yes";
constexpr const char* kNo = "no";

// Each rank has failed in a way of its own; of what is left, all ranks say the same.
bool is_crash(const WorkerFailure& failure) {
  return failure.code == ExitCode::kInternal && !failure.bad_batch;
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
      hangs_(options_.hang_timeout_seconds),
      budget_(options_.max_restarts, options_.no_progress_limit) {
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

// Leaves nothing of the old workers on its way, so that the next ones begin as the first did: each notice of a failure
// is taken (it would end the next session), each collective that anyone has begun is completed by all, and a checkpoint
// that not all have begun is forgotten. What is returned is the same on every rank, and so is all that follows from it.
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
  budget_.count(statuses);
  const bool stopping = std::ranges::any_of(statuses, &AgentStatus::stop_requested);
  if (stopping && save(statuses)) return ExitCode::kStopped;  // the next worker might fail before it gets there
  if (std::ranges::any_of(statuses, &AgentStatus::interrupted)) return end_in_haste(statuses);
  const std::optional<RestartBudget::End> end = budget_.end();
  return end ? std::optional(give_up(*end, statuses)) : std::nullopt;
}

// What could not be saved is in memory at least; all that may be missing before the first step is the step in flight.
ExitCode Agent::end_in_haste(const std::vector<AgentStatus>& statuses) {
  const bool is_lost = newest_common_step(statuses) > 0 && !bad_batch(statuses);
  return is_lost ? ExitCode::kIo : ExitCode::kStopped;
}

ExitCode Agent::give_up(const RestartBudget::End& end, const std::vector<AgentStatus>& statuses) {
  save(statuses);
  if (parts_.log != nullptr) parts_.log->event("gave_up", {{"restarts", restarts_}}, end.why);
  return end.code;
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
                      "saved what was in memory as the checkpoint of step " + std::to_string(step) + ": " +
                          parts_.checkpoints.newest_folder().string());
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
  const int failures = budget_.failures_without_progress();
  if (failures == 0) return;
  const double seconds = std::min(kFirstPauseSeconds * std::pow(2.0, failures - 1), kLongestPauseSeconds);
  const auto end = HangDetector::Clock::now() + std::chrono::duration<double>(seconds);
  while (HangDetector::Clock::now() < end) attend();
}

// Wherever an agent without a worker waits: for other agents, which need its signs of life and its part of a
// checkpoint, and for a user who has lost patience.
void Agent::attend() {
  parts_.checkpoints.progress();
  parts_.copies.progress();
  parts_.group.attend();
  if (parts_.log != nullptr) parts_.log->attend();
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
  parts_.copies.go_back_to(static_cast<std::uint64_t>(step));
  use(Snapshot(*snapshots_[slot]), static_cast<int>(slot));
  return true;
}

// The checkpoint in flight is finished first: it may be the newest.
void Agent::restore_from_disk(const std::vector<AgentStatus>& statuses) {
  finish_checkpoint();
  io::LeftOutBatches left_out = order_.state.left_out;
  if (const std::optional<std::uint64_t> batch = bad_batch(statuses)) left_out.add(*batch);
  snapshots_ = {};
  parts_.memory.forget_notes();
  parts_.copies.go_back_to(0);
  order_ = options_.fresh_order;
  std::optional<io::TrainingState> loaded = options_.load_checkpoint();
  if (loaded) {
    loaded->left_out = left_out;
    use({*loaded, sharding::slot_checksum(parts_.memory.slot(0))}, 0);
  }
  order_.state.left_out = left_out;
  step_on_disk_ = static_cast<std::int64_t>(order_.state.step);
  budget_.go_back_to(step_on_disk_);
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
