// One life of a worker: from its start to its end or to the failure of any worker of the job.
#pragma once

#include <chrono>
#include <optional>

#include "base/shared_memory.hpp"
#include "launcher/agent_status.hpp"
#include "launcher/checkpoint_writer.hpp"
#include "launcher/exchange_runner.hpp"
#include "launcher/run_log.hpp"
#include "launcher/stop_signals.hpp"
#include "launcher/worker_process.hpp"

namespace kangpt::launcher {

// What an agent works with; owned by the caller of Agent. `log` is there on rank 0 only.
struct AgentParts {
  sharding::MpiGroup& group;
  const sharding::ExchangeMemory& memory;
  ExchangeRunner& exchanges;
  CheckpointWriter& checkpoints;
  StopSignals& signals;
  RunLog* log = nullptr;
};

struct WorkerStart {
  WorkerCommand command;  // its socket_fd is filled in
  sharding::StartOrder order;
  std::string configuration;
};

// MpiGroup topic of failure notices.
inline constexpr int kFailureTopic = 1;

// Starts the worker and serves it. Fills `snapshots` as the worker publishes. Single-threaded; kills the worker on
// destruction if it still runs.
class WorkerSession {
 public:
  WorkerSession(const AgentParts& parts, WorkerStart start, Snapshots& snapshots);

  // Returns once the worker has finished and its last checkpoint is written, or has failed, or another worker has. In
  // the last two cases the worker has been killed, and the exchange in flight is left for ExchangeRunner::drain().
  AgentStatus run();

  // Failure notices of other agents that were taken from the group.
  int notices_received() const noexcept { return other_failed_ ? 1 : 0; }
  // When the failure that ended run() was noticed.
  std::chrono::steady_clock::time_point failure_time() const noexcept { return failure_time_; }

 private:
  void wait();
  void read_messages();
  void handle(const sharding::Message& message);
  void publish(std::uint64_t slot, const sharding::Publication& publication);
  void advance_exchange();
  void attend_to_signals();
  void look_at_worker();
  void look_at_others();
  void fail(ExitCode code, const std::string& message, int signal = 0);
  bool over() const noexcept { return finished_ || failure_ || other_failed_; }

  const AgentParts& parts_;
  Snapshots& snapshots_;
  std::optional<sharding::MessageSocket> socket_;
  std::optional<WorkerProcess> worker_;
  bool socket_closed_ = false;
  std::uint64_t fired_faults_ = 0;
  std::optional<ExitCode> finished_;
  std::optional<WorkerFailure> failure_;
  bool other_failed_ = false;
  std::chrono::steady_clock::time_point failure_time_;
};

}  // namespace kangpt::launcher
