// One life of a worker: from its start to its end or to the failure of any worker of the job.
#pragma once

#include <filesystem>
#include <optional>

#include "base/shared_memory.hpp"
#include "launcher/agent/agent_status.hpp"
#include "launcher/agent/checkpoint_writer.hpp"
#include "launcher/agent/exchange_runner.hpp"
#include "launcher/agent/hang_detector.hpp"
#include "launcher/agent/neighbour_copies.hpp"
#include "launcher/agent/stop_signals.hpp"
#include "launcher/agent/worker_process.hpp"
#include "launcher/record/run_log.hpp"

namespace kangpt::launcher {

// What an agent works with; owned by the caller of Agent. `log` is there on rank 0 only.
struct AgentParts {
  sharding::MpiGroup& group;
  const sharding::ExchangeMemory& memory;
  ExchangeRunner& exchanges;
  CheckpointWriter& checkpoints;
  StopSignals& signals;
  NeighbourCopies& copies;
  RunLog* log = nullptr;
  bool memory_outlives_job = false;  // a next start finds the snapshots
};

struct WorkerStart {
  WorkerCommand command;  // its socket_fd is filled in
  sharding::StartOrder order;
  std::string configuration;
  std::filesystem::path crash_file;  // gets the worker's stack if it crashes
  // The worker before this one, or the one before that, wanted what it starts from on disk, and the disk was busy.
  bool to_be_written = false;
};

// MpiGroup topics: failure notices to all, and to rank 0 the faults of fault.inject that are about to happen.
inline constexpr int kFailureTopic = 1;
inline constexpr int kFaultTopic = 2;

// A second SIGINT ends all processes at once.
void end_if_interrupted_twice(const AgentParts& parts);

// Starts the worker and serves it; one that can't be started has failed. Fills `snapshots` as the worker publishes.
// Single-threaded; kills the worker on destruction if it still runs.
//
//   computing --request--> exchanging --complete, kDone--> computing
//   computing --kPublish for the disk--> held until the slot is copied, kDone --> computing
//   computing --kFinished--> finished, done once the last checkpoint is on disk
//   any of them --kFailed, kBadBatch, its death, no sign of life--> failed: all others are told
//   any of them --a notice of another agent--> that one's worker has failed, or was interrupted
//   any before finished --a signal in haste, and the step does not end at once--> interrupted: all others are told
//
// Only the last three end it early. What becomes of the job is not decided here but by Agent, of what all ranks say.
class WorkerSession {
 public:
  WorkerSession(const AgentParts& parts, WorkerStart start, Snapshots& snapshots, HangDetector& hangs);

  // Returns once the worker has finished and its last checkpoint is written, or has failed or been interrupted, or
  // another worker has. In the last two cases the worker has been killed, and the exchange in flight is left for
  // ExchangeRunner::drain().
  AgentStatus run();

  // Failure notices of other agents that were taken from the group.
  int notices_received() const noexcept { return other_failed_ ? 1 : 0; }

 private:
  void start(WorkerStart& start);
  void wait();
  void read_messages();
  void handle(const sharding::Message& message);
  void publish(std::uint64_t slot, const sharding::Publication& publication);
  void begin_checkpoint();
  void remember_fault(std::uint64_t index);
  void advance_exchange();
  void answer(const std::string& result);
  void send_waiting();
  void attend_to_signals();
  void say_stop();
  void look_at_worker();
  void look_at_others();
  void look_for_hang();
  bool worker_waits() const noexcept { return parts_.exchanges.active() || unanswered_ || held_ || finished_; }
  void fail(WorkerFailure failure);
  void tell_others();
  void end_worker();
  AgentStatus status() const;
  // Finished, and nothing is left to be written.
  bool done() const noexcept { return finished_ && !checkpoint_slot_ && parts_.checkpoints.idle(); }
  bool failed() const noexcept { return failure_ || other_failed_ || interrupted_; }

  const AgentParts& parts_;
  std::filesystem::path program_;
  std::filesystem::path crash_file_;
  Snapshots& snapshots_;
  HangDetector& hangs_;
  std::optional<sharding::MessageSocket> socket_;
  std::optional<WorkerProcess> worker_;
  std::uint64_t messages_ = 0;
  std::uint64_t fired_faults_ = 0;
  std::optional<std::size_t> checkpoint_slot_;  // wanted on disk once the writer is idle
  std::optional<sharding::Message> held_;       // would let the worker write to checkpoint_slot_
  std::int64_t wanted_on_disk_ = -1;
  std::optional<ExitCode> finished_;
  std::optional<WorkerFailure> failure_;
  bool socket_closed_ = false;
  bool sending_ = false;     // some of what was sent is still here
  bool unanswered_ = false;  // the worker waits until its checkpoint_slot_ has been copied
  bool stop_was_said_ = false;
  bool checkpoint_requested_ = false;  // once for each, or the next step might be written too
  bool other_failed_ = false;
  bool interrupted_ = false;
};

}  // namespace kangpt::launcher
