#include "launcher/agent/worker_session.hpp"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.hpp"
#include "launcher/agent/missing_libraries.hpp"
#include "training/phase.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;
using sharding::Message;
using sharding::MessageKind;

constexpr int kIdlePollMilliseconds = 5;  // how soon news from other agents is seen while the worker computes
// Of the second that mpirun grants: the rest is for the checkpoint.
constexpr std::chrono::milliseconds kPatienceWithStep{250};
constexpr long kJoiningPollNanoseconds = 100'000;  // while other workers are still computing
constexpr long kCopyingPollNanoseconds = 200'000;  // while snapshots travel between agents

// The codes with which a worker may end the job; all others count as a crash. It may have gone mad.
ExitCode code_of(std::uint64_t argument) {
  for (const ExitCode code : {ExitCode::kData, ExitCode::kInputMissing, ExitCode::kIo, ExitCode::kGaveUp,
                              ExitCode::kConfiguration, ExitCode::kNoProgress}) {
    if (argument == static_cast<std::uint64_t>(code)) return code;
  }
  return ExitCode::kInternal;
}

bool lets_worker_go_on(MessageKind kind) {
  switch (kind) {
    case MessageKind::kReport:
    case MessageKind::kFaultFired:
    case MessageKind::kFinished:
    case MessageKind::kFailed:
    case MessageKind::kBadBatch:
      return false;
    default:
      return true;
  }
}

}  // namespace

void end_if_interrupted_twice(const AgentParts& parts) {
  parts.signals.poll();
  if (!parts.signals.stop_at_once()) return;
  base::log_warning(
      "interrupted twice: ending at once; the next start goes on from what its nodes hold in memory, or from the last "
      "checkpoint");
  parts.group.abort(static_cast<int>(ExitCode::kGaveUp));
}

WorkerSession::WorkerSession(const AgentParts& parts, WorkerStart start, Snapshots& snapshots, HangDetector& hangs)
    : parts_(parts),
      program_(start.command.program->path()),
      crash_file_(std::move(start.crash_file)),
      snapshots_(snapshots),
      hangs_(hangs) {
  if (start.to_be_written) {
    checkpoint_slot_ = static_cast<std::size_t>(start.order.slot);
    wanted_on_disk_ = static_cast<std::int64_t>(start.order.state.step);
  }
  hangs_.restart(HangDetector::Clock::now());
  try {
    this->start(start);
  } catch (const IoError& error) {  // there may be a process more in a moment
    fail({.message = error.what()});
  } catch (const Error& error) {
    fail({.code = error.exit_code(), .message = error.what()});
  }
}

void WorkerSession::start(WorkerStart& start) {
  sharding::SocketPair pair = sharding::make_socket_pair();
  start.command.socket_fd = pair.worker.fd();
  worker_.emplace(start.command);
  socket_.emplace(std::move(pair.agent));
  socket_->post(MessageKind::kStart, 0, std::string(sharding::as_payload(start.order)) + start.configuration);
  sending_ = !socket_->flush();
}

// Nothing in here blocks: the agents of other ranks may need this one at any moment.
AgentStatus WorkerSession::run() {
  while (!done() && !failed()) {
    wait();
    parts_.group.attend();
    send_waiting();
    read_messages();
    if (parts_.exchanges.active()) advance_exchange();
    if (!parts_.exchanges.everyone_joined()) parts_.copies.progress();
    parts_.checkpoints.progress();
    if (checkpoint_slot_ && parts_.checkpoints.idle()) begin_checkpoint();
    attend_to_signals();
    look_at_worker();
    look_for_hang();
    look_at_others();
    if (parts_.log != nullptr) parts_.log->attend();
  }
  if (done() && !parts_.checkpoints.last_error().empty()) finished_ = ExitCode::kIo;
  if (!done()) end_worker();
  return status();
}

void WorkerSession::end_worker() {
  if (!worker_) return;
  worker_->kill();
  const std::string stack = worker_->crash_report();
  if (stack.empty() || !failure_) return;
  std::ofstream file(crash_file_, std::ios::app);
  file << describe(parts_.group.rank(), *failure_) << '\n' << stack << '\n';
  if (file.flush()) base::log_info("its stack is in " + crash_file_.string());
}

AgentStatus WorkerSession::status() const {
  const CheckpointWriter& checkpoints = parts_.checkpoints;
  AgentStatus status;
  if (done()) status.finished = finished_;
  status.failure = failure_;
  status.exchange = parts_.exchanges.position();
  status.notified = failure_ || interrupted_;
  status.stop_requested = parts_.signals.stop_requested();
  status.interrupted = interrupted_;
  status.checkpoints_begun = checkpoints.begun();
  if (!checkpoints.last_error().empty() && checkpoints.idle()) status.failed_checkpoint = checkpoints.newest_step();
  status.wanted_on_disk = wanted_on_disk_;
  status.fired_faults = fired_faults_;
  status.snapshot_steps = steps_of(snapshots_);
  return status;
}

// Sleeps until something may have happened. While data moves between agents it only yields: MPI makes progress in its
// own calls alone, and all workers wait. Before, some of them still compute, on the cores that polling would take.
void WorkerSession::wait() {
  const ExchangeRunner& exchanges = parts_.exchanges;
  if (exchanges.everyone_joined()) {
    ::sched_yield();
    return;
  }
  const bool reading = !socket_closed_ && !finished_ && !held_;
  const auto events = static_cast<short>((reading ? POLLIN : 0) | (sending_ ? POLLOUT : 0));
  std::array<pollfd, 3> fds = {pollfd{events != 0 ? socket_->fd() : -1, events, 0},
                               pollfd{finished_ ? -1 : worker_->pid_fd(), POLLIN, 0},
                               pollfd{parts_.signals.fd(), POLLIN, 0}};
  const timespec timeout = exchanges.active()     ? timespec{0, kJoiningPollNanoseconds}
                           : parts_.copies.busy() ? timespec{0, kCopyingPollNanoseconds}
                                                  : timespec{0, kIdlePollMilliseconds * 1'000'000L};
  ::ppoll(fds.data(), fds.size(), &timeout, nullptr);
}

// While a slot waits to be written, nothing is done that would let the worker go on and write to it. All else is: what
// it says of its end decides what becomes of it.
void WorkerSession::read_messages() {
  try {
    if (held_ && !checkpoint_slot_) handle(*std::exchange(held_, std::nullopt));
    while (!socket_closed_ && !finished_ && !failed() && !held_) {
      std::optional<Message> message = socket_->try_receive(socket_closed_);
      if (!message) return;
      ++messages_;
      checkpoint_slot_&& lets_worker_go_on(message->kind) ? void(held_ = std::move(message)) : handle(*message);
    }
  } catch (const CommunicationError& error) {
    fail({.message = std::string("the worker sent nonsense: ") + error.what()});
  }
}

void WorkerSession::handle(const Message& message) {
  switch (message.kind) {
    case MessageKind::kPublish:
      return publish(message.argument, sharding::from_payload<sharding::Publication>(message.payload));
    case MessageKind::kReport:
      if (parts_.log != nullptr) parts_.log->report(json::parse(message.payload, nullptr, false));
      return;
    case MessageKind::kFaultFired:
      return remember_fault(message.argument);
    case MessageKind::kFinished:
      finished_ = message.argument == 0 ? ExitCode::kDone : ExitCode::kStopped;
      return;
    case MessageKind::kFailed:
      return fail({.code = code_of(message.argument), .message = message.payload});
    case MessageKind::kBadBatch:
      return fail({.message = message.payload, .bad_batch = message.argument});
    default:
      return parts_.exchanges.begin(message);
  }
}

void WorkerSession::publish(std::uint64_t slot, const sharding::Publication& publication) {
  if (slot >= static_cast<std::uint64_t>(parts_.memory.slots()))
    throw CommunicationError("a snapshot in a slot that does not exist");
  snapshots_[slot] = Snapshot{publication.state, publication.checksum};
  ++parts_.memory.heartbeat().publications;
  if (publication.write_checkpoint == 0) return;
  parts_.memory.heartbeat().checkpoint_requested = 0;
  checkpoint_requested_ = false;
  wanted_on_disk_ = static_cast<std::int64_t>(publication.state.step);
  checkpoint_slot_ = slot;
  unanswered_ = true;
}

void WorkerSession::begin_checkpoint() {
  const std::size_t slot = *std::exchange(checkpoint_slot_, std::nullopt);
  parts_.checkpoints.begin(parts_.memory.slot(static_cast<int>(slot)), *snapshots_[slot]);
  if (std::exchange(unanswered_, false)) answer("");
}

// Rank 0 keeps it on disk, so that it does not happen again even if all processes are killed.
void WorkerSession::remember_fault(std::uint64_t index) {
  if (index >= 64) return;
  fired_faults_ |= std::uint64_t{1} << index;
  if (parts_.log != nullptr) return parts_.log->remember_faults(fired_faults_);
  parts_.group.post(0, kFaultTopic, std::to_string(fired_faults_));
}

void WorkerSession::advance_exchange() {
  const std::optional<std::string> result = parts_.exchanges.progress();
  if (result) answer(*result);
}

void WorkerSession::answer(const std::string& result) {
  if (socket_closed_) return;
  try {
    socket_->post(MessageKind::kDone, 0, result);
    sending_ = !socket_->flush();
  } catch (const CommunicationError&) {
    socket_closed_ = true;  // look_at_worker() finds out why
  }
}

void WorkerSession::send_waiting() {
  if (!sending_ || socket_closed_) return;
  try {
    sending_ = !socket_->flush();
  } catch (const CommunicationError&) {
    socket_closed_ = true;
  }
}

void WorkerSession::attend_to_signals() {
  end_if_interrupted_twice(parts_);
  if (parts_.signals.stop_requested()) {
    parts_.memory.heartbeat().stop_requested = 1;
    if (!std::exchange(stop_was_said_, true)) say_stop();
  }
  if (!finished_ && !failed() && parts_.signals.in_haste_for(kPatienceWithStep)) {
    interrupted_ = true;
    tell_others();
  }
  if (parts_.checkpoints.is_due() && !std::exchange(checkpoint_requested_, true))
    parts_.memory.heartbeat().checkpoint_requested = 1;
}

// At once, since mpirun kills its processes a second after a SIGTERM or SIGINT.
void WorkerSession::say_stop() {
  if (parts_.log == nullptr) return;
  const std::int64_t step = std::ranges::max(steps_of(snapshots_));
  const std::string held = "step " + std::to_string(step);
  std::string message = "asked to stop by a signal: after this step and a checkpoint of it";
  if (parts_.signals.in_haste_for({})) {
    message = step > 0 ? "asked to stop at once: saving " + held + ", or the next if it ends now, as a checkpoint"
                       : "asked to stop at once, before the first step is done";
  }
  if (parts_.memory_outlives_job && step > 0)
    message +=
        "; if this is killed before, " + held + " stays in memory, and the same command on this node goes on from it";
  base::log_info(message);
}

void WorkerSession::look_at_worker() {
  if (finished_ || failed()) return;
  const std::optional<ProcessEnd> end = worker_->poll_end();
  if (!end) return;
  read_messages();  // its last words
  if (finished_ || failed()) return;
  const bool has_begun = messages_ > 0 || end->signal != 0;
  const std::string missing = has_begun ? "" : missing_libraries(program_);
  if (!missing.empty()) return fail({.code = ExitCode::kConfiguration, .message = missing});
  fail({.message = "the worker " + end->describe(), .signal = end->signal});
}

void WorkerSession::look_at_others() {
  if (parts_.log != nullptr) {
    while (const auto fault = parts_.group.receive(kFaultTopic)) parts_.log->remember_faults(std::stoull(fault->text));
  }
  if (failed() || !parts_.group.receive(kFailureTopic)) return;
  other_failed_ = true;
}

void WorkerSession::look_for_hang() {
  if (failed()) return;
  const sharding::HeartbeatPage& page = parts_.memory.heartbeat();
  const auto turn = worker_waits() ? WorkerActivity::Turn::kAgent : WorkerActivity::Turn::kWorker;
  const std::uint64_t collective = page.collective.load();
  const std::optional<double> seconds =
      hangs_.look({page.step.load(), page.phase.load(), messages_, page.progress.load(), turn, collective},
                  HangDetector::Clock::now());
  if (!seconds) return;
  const std::string what = collective == 0 ? "stuck" : "waiting for other ranks, of which none is stuck,";
  fail({.message = what, .stuck_seconds = *seconds});  // while the heartbeat still says where
  worker_->request_crash_report();
}

// Others are told at once: their workers wait in a collective that this one will never join.
void WorkerSession::fail(WorkerFailure failure) {
  const sharding::HeartbeatPage& page = parts_.memory.heartbeat();
  failure.step = page.step.load();
  failure.phase = training::phase_name(page.phase.load());
  failure_ = std::move(failure);
  tell_others();
}

void WorkerSession::tell_others() {
  for (int rank = 0; rank < parts_.group.size(); ++rank) {
    if (rank != parts_.group.rank()) parts_.group.post(rank, kFailureTopic, "");
  }
}

}  // namespace kangpt::launcher
