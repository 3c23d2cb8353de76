#include "launcher/worker_session.hpp"

#include <poll.h>
#include <sched.h>
#include <time.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.hpp"
#include "training/phase.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;
using sharding::Message;
using sharding::MessageKind;

constexpr int kIdlePollMilliseconds = 5;           // how soon news from other agents is seen while the worker computes
constexpr long kJoiningPollNanoseconds = 100'000;  // while other workers are still computing

double silent_seconds(const sharding::HeartbeatPage& page) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec * 1'000'000'000L + now.tv_nsec - page.monotonic_nanoseconds.load()) * 1e-9;
}

}  // namespace

WorkerSession::WorkerSession(const AgentParts& parts, WorkerStart start, Snapshots& snapshots)
    : parts_(parts), snapshots_(snapshots) {
  sharding::SocketPair pair = sharding::make_socket_pair();
  start.command.socket_fd = pair.worker.fd();
  worker_.emplace(start.command);
  socket_.emplace(std::move(pair.agent));
  socket_->send(MessageKind::kStart, 0, std::string(sharding::as_payload(start.order)) + start.configuration);
}

AgentStatus WorkerSession::run() {
  while (!over()) {
    wait();
    read_messages();
    if (parts_.exchanges.active()) advance_exchange();
    parts_.checkpoints.progress();
    attend_to_signals();
    look_at_worker();
    look_at_others();
  }
  while (finished_ && !parts_.checkpoints.idle()) {
    parts_.checkpoints.progress();
    ::poll(nullptr, 0, 1);
  }
  if (finished_ && !parts_.checkpoints.last_error().empty()) finished_ = ExitCode::kIo;
  if (!finished_) worker_->kill();
  AgentStatus status;
  status.finished = finished_;
  status.failure = failure_;
  status.exchange = parts_.exchanges.position();
  status.notified = failure_.has_value();
  status.checkpoint = parts_.checkpoints.newest();
  status.fired_faults = fired_faults_;
  status.snapshot_steps = steps_of(snapshots_);
  return status;
}

// Sleeps until something may have happened. While data moves between agents it only yields.
void WorkerSession::wait() {
  const ExchangeRunner& exchanges = parts_.exchanges;
  if (exchanges.everyone_joined()) {
    ::sched_yield();
    return;
  }
  std::array<pollfd, 3> fds = {pollfd{socket_closed_ ? -1 : socket_->fd(), POLLIN, 0},
                               pollfd{worker_->pid_fd(), POLLIN, 0}, pollfd{parts_.signals.fd(), POLLIN, 0}};
  const timespec timeout =
      exchanges.active() ? timespec{0, kJoiningPollNanoseconds} : timespec{0, kIdlePollMilliseconds * 1'000'000L};
  ::ppoll(fds.data(), fds.size(), &timeout, nullptr);
}

void WorkerSession::read_messages() {
  try {
    while (!socket_closed_ && !over()) {
      const std::optional<Message> message = socket_->try_receive(socket_closed_);
      if (!message) return;
      handle(*message);
    }
  } catch (const CommunicationError& error) {
    fail(ExitCode::kInternal, std::string("the worker sent nonsense: ") + error.what());
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
      if (message.argument < 64) fired_faults_ |= std::uint64_t{1} << message.argument;
      return;
    case MessageKind::kFinished:
      finished_ = message.argument == 0 ? ExitCode::kDone : ExitCode::kStopped;
      return;
    case MessageKind::kFailed:
      return fail(static_cast<ExitCode>(message.argument), message.payload);
    default:
      return parts_.exchanges.begin(message);
  }
}

void WorkerSession::publish(std::uint64_t slot, const sharding::Publication& publication) {
  if (slot >= snapshots_.size()) throw CommunicationError("a snapshot in a slot that does not exist");
  snapshots_[slot] = Snapshot{publication.state, publication.checksum};
  if (publication.write_checkpoint == 0) return;
  while (!parts_.checkpoints.idle()) {  // the disk is slower than the checkpoint interval
    parts_.checkpoints.progress();
    ::poll(nullptr, 0, 1);
  }
  parts_.checkpoints.begin(parts_.memory.slot(static_cast<int>(slot)), publication.state);
}

void WorkerSession::advance_exchange() {
  const std::optional<std::string> result = parts_.exchanges.progress();
  if (!result || socket_closed_) return;
  try {
    socket_->send(MessageKind::kDone, 0, *result);
  } catch (const CommunicationError&) {
    socket_closed_ = true;  // look_at_worker() finds out why
  }
}

void WorkerSession::attend_to_signals() {
  parts_.signals.poll();
  if (parts_.signals.stop_requested()) parts_.memory.heartbeat().stop_requested = 1;
  if (parts_.signals.stop_at_once()) {
    base::log_warning("interrupted twice: ending at once; the next start goes on from the last checkpoint");
    parts_.group.abort(static_cast<int>(ExitCode::kGaveUp));
  }
}

void WorkerSession::look_at_worker() {
  if (over()) return;
  const std::optional<ProcessEnd> end = worker_->poll_end();
  if (!end) return;
  read_messages();  // its last words
  if (!over()) fail(ExitCode::kInternal, "the worker " + end->describe(), end->signal);
}

void WorkerSession::look_at_others() {
  if (over() || !parts_.group.receive(kFailureTopic)) return;
  other_failed_ = true;
  failure_time_ = std::chrono::steady_clock::now();
}

void WorkerSession::fail(ExitCode code, const std::string& message, int signal) {
  const sharding::HeartbeatPage& page = parts_.memory.heartbeat();
  failure_time_ = std::chrono::steady_clock::now();
  failure_ = WorkerFailure{code,
                           message,
                           page.step.load(),
                           std::string(training::phase_name(page.phase.load())),
                           signal,
                           silent_seconds(page)};
  for (int rank = 0; rank < parts_.group.size(); ++rank) {
    if (rank != parts_.group.rank()) parts_.group.post(rank, kFailureTopic, "");
  }
}

}  // namespace kangpt::launcher
