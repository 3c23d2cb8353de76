// All lives of an agent's worker: starts it again after a crash until the job is done.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launcher/agent/restart_budget.hpp"
#include "launcher/agent/worker_session.hpp"

namespace kangpt::launcher {

struct AgentOptions {
  std::filesystem::path worker_program;
  WorkerCommand command;             // its program is filled in
  sharding::StartOrder fresh_order;  // for a start without any snapshot
  std::string configuration;         // resolved, as text; sent to the worker
  int max_restarts = 0;
  int no_progress_limit = 0;
  double hang_timeout_seconds = 0;   // 0: learnt
  std::filesystem::path crash_file;  // gets the stacks of workers that crash
  // Loads the newest valid checkpoint on disk into slot 0; nullopt if there is none. Collective: all ranks call it.
  std::function<std::optional<io::TrainingState>()> load_checkpoint;
  // The samples in a batch, for a person who looks for what is wrong with them. Rank 0 calls it.
  std::function<std::string(std::uint64_t batch)> describe_batch;
  // The exit code of the job where a worker failed with this one. Collective.
  std::function<ExitCode(ExitCode)> end_code;
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
  ExitCode end_in_haste(const std::vector<AgentStatus>& statuses);
  ExitCode give_up(const RestartBudget::End& end, const std::vector<AgentStatus>& statuses);
  // Before the job ends: what is in memory would be lost, so it goes to disk. False where that is not possible.
  bool save(const std::vector<AgentStatus>& statuses);
  bool is_written(std::int64_t step);
  void report_own(const AgentStatus& mine);
  void report(const std::vector<AgentStatus>& statuses);
  void report_failure(int rank, const WorkerFailure& failure, const std::string& message);
  void report_repetition(std::uint64_t failed_step);
  // Chooses what the next workers start from.
  void restore(const std::vector<AgentStatus>& statuses);
  bool restore_snapshot(std::int64_t step);
  void restore_from_disk(const std::vector<AgentStatus>& statuses);
  void use(const Snapshot& snapshot, int slot);
  bool is_lost_checkpoint(const std::vector<AgentStatus>& statuses) const;
  void finish_checkpoint();
  void pause();
  void attend();
  bool on_every_rank(bool mine);

  const AgentParts& parts_;
  AgentOptions options_;
  WorkerProgram program_;
  sharding::StartOrder order_;
  Snapshots snapshots_;
  HangDetector hangs_;
  RestartBudget budget_;
  std::int64_t step_on_disk_ = 0;  // where a new start would begin at least
  bool to_be_written_ = false;     // what order_ starts from
  int restarts_ = 0;
  std::uint64_t last_failed_step_ = 0;
};

}  // namespace kangpt::launcher
