// Agents write a snapshot to disk together, in the background.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/parameter_table.hpp"
#include "io/checkpoint.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/mpi_group.hpp"
#include "sharding/partition.hpp"

namespace kangpt::launcher {

struct CheckpointPlan {
  std::filesystem::path directory;  // RUN/checkpoints
  int keep_last = 2;
  std::uint64_t keep_every = 0;
  std::string configuration;
  base::ParameterTable parameters;
};

// What became of a checkpoint. Only rank 0 is told.
struct CheckpointOutcome {
  std::uint64_t step = 0;
  double seconds = 0;  // from the snapshot to the rename
  std::uint64_t bytes = 0;
  std::string error;  // empty: it is on disk
};

// Each rank: begin() copies its slot, a thread writes it to step-N.tmp/; rank 0 collects the digests, writes the
// manifest and renames the folder. At most one checkpoint is in flight. The thread is the only one in this process that
// uses HDF5. Call progress() often; all calls from the thread of the MpiGroup.
class CheckpointWriter {
 public:
  using Report = std::function<void(const CheckpointOutcome&)>;
  CheckpointWriter(sharding::MpiGroup& group, const sharding::Partition& partition, CheckpointPlan plan, Report report);
  ~CheckpointWriter();

  // Copies the slot and returns. REQUIRES: idle(), on every rank for the same step.
  void begin(const sharding::ExchangeMemory::Slot& slot, const io::TrainingState& state);
  void progress();
  bool idle() const noexcept { return !job_; }

  // Names the newest checkpoint that this rank has begun, the same name on every rank that has begun it.
  const std::string& newest() const noexcept { return newest_; }
  // The step of the newest one that has not been abandoned, -1: none. The same on every rank after an agreement.
  std::int64_t newest_step() const noexcept { return newest_step_; }
  // Why the newest checkpoint is not on disk; empty if it is. Rank 0 knows.
  const std::string& last_error() const noexcept { return last_error_; }
  // Rank 0, after a failure: it is time to try again. The pause doubles from 5 s to 5 minutes.
  bool retry_due() const noexcept { return !last_error_.empty() && !job_ && Clock::now() >= retry_time_; }
  // After a crash that some ranks saw before and some after begin(): forgets the job in flight. Waits for its thread.
  // Called on all ranks, with or without a job; later checkpoints have other names even at the same step.
  void abandon();

  // MpiGroup topics that this class uses.
  static constexpr int kBeginTopic = 11;
  static constexpr int kRangeTopic = 12;

 private:
  using Clock = std::chrono::steady_clock;
  struct Job;
  void start_writing();
  std::optional<std::string> receive(int topic, int& source);
  void collect(int rank, const std::string& result);
  void commit();
  void finish(const std::string& error);

  sharding::MpiGroup& group_;
  sharding::Partition partition_;
  CheckpointPlan plan_;
  Report report_;
  std::unique_ptr<Job> job_;
  std::string newest_;
  std::int64_t newest_step_ = -1;
  std::string last_error_;
  Clock::time_point retry_time_;
  std::chrono::seconds pause_{};  // before the next try
  int epoch_ = 0;                 // times abandoned
};

}  // namespace kangpt::launcher
