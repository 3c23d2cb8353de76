// All lives of an agent's worker: starts it again after a crash until the job is done.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launcher/worker_session.hpp"

namespace kangpt::launcher {

struct AgentOptions {
  WorkerCommand command;
  sharding::StartOrder fresh_order;  // for a start without any snapshot
  std::string configuration;         // resolved, as text; sent to the worker
  int max_restarts = 0;
  int no_progress_limit = 0;
  // Loads the newest valid checkpoint on disk into slot 0; nullopt if there is none. Collective: all ranks call it.
  std::function<std::optional<io::TrainingState>()> load_checkpoint;
};

// Agents run in step: what ends or restarts one ends or restarts all. Single-threaded.
class Agent {
 public:
  // `loaded`: the state in slot 0 if a checkpoint was loaded there.
  Agent(const AgentParts& parts, AgentOptions options, const std::optional<io::TrainingState>& loaded);

  // Runs workers until the job is done, stopped or given up. The same exit code on every rank; rank 0 has said why.
  ExitCode run();

 private:
  std::vector<AgentStatus> agree(const WorkerSession& session, const AgentStatus& mine);
  std::optional<ExitCode> decide(const std::vector<AgentStatus>& statuses);
  void report(const std::vector<AgentStatus>& statuses);
  // Chooses what the next workers start from.
  void restore(const std::vector<AgentStatus>& statuses);
  bool restore_snapshot(std::int64_t step);
  void use(io::TrainingState state, int slot);  // by value: it may come from snapshots_
  bool making_progress(std::int64_t step);
  bool on_every_rank(bool mine);

  const AgentParts& parts_;
  AgentOptions options_;
  sharding::StartOrder order_;
  Snapshots snapshots_;
  int restarts_ = 0;
  int restarts_without_progress_ = 0;
  std::int64_t last_restored_step_ = -2;  // -2: never; -1: the start
};

}  // namespace kangpt::launcher
