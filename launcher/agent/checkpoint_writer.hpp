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
#include "launcher/agent/agent_status.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/mpi/mpi_group.hpp"
#include "sharding/partition.hpp"

namespace kangpt::launcher {

struct CheckpointPlan {
  std::filesystem::path directory;  // RUN/checkpoints
  io::KeptCheckpoints kept;
  double interval_seconds = 0;  // from one to the next; 0: not by time
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
// uses HDF5. Call progress() often; all calls from the thread of the MpiGroup. None waits for the disk.
class CheckpointWriter {
 public:
  using Report = std::function<void(const CheckpointOutcome&)>;
  CheckpointWriter(sharding::MpiGroup& group, const sharding::Partition& partition, CheckpointPlan plan, Report report);
  ~CheckpointWriter();

  // Copies the slot and returns. A copy that has another checksum than the snapshot is not written. REQUIRES: idle(),
  // on every rank for the same step.
  void begin(const sharding::ExchangeMemory::Slot& slot, const Snapshot& snapshot);
  void progress();
  bool idle() const noexcept { return !job_; }

  // Checkpoints that this rank has begun, less those that were forgotten. Ranks differ by one at most.
  std::uint64_t begun() const noexcept { return begun_; }
  // The step of the newest of them, -1: none. The same on every rank after an agreement.
  std::int64_t newest_step() const noexcept { return newest_step_; }
  // Where that is, or would be.
  std::filesystem::path newest_folder() const;
  // Why the newest checkpoint is not on disk; empty if it is. Rank 0 knows.
  const std::string& last_error() const noexcept { return last_error_; }
  // Rank 0: it is time for one, since interval_seconds have passed since the one before (or since the start of the job,
  // whatever becomes of workers), or for another try after a failure. That pause doubles from 5 s to 5 minutes.
  bool is_due() const noexcept;
  // After a crash that some ranks saw before and some after begin(): forgets the one that not all have begun. Called on
  // all ranks if begun() differs; what all have begun goes on.
  void forget_after(std::uint64_t begun_by_all);

  // MpiGroup topics that this class uses.
  static constexpr int kReadyTopic = 10;
  static constexpr int kBeginTopic = 11;
  static constexpr int kRangeTopic = 12;

 private:
  using Clock = std::chrono::steady_clock;
  struct Job;
  void lead();
  void follow();
  void warn_if_slow();
  void announce(const std::string& prepared);
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
  std::uint64_t begun_ = 0;
  std::int64_t newest_step_ = -1;
  std::int64_t step_before_ = -1;  // newest_step_ before the newest begin()
  std::string last_error_;
  Clock::time_point retry_time_;
  Clock::time_point written_ = Clock::now();  // when the newest one on disk was begun
  std::chrono::seconds pause_{};              // before the next try
  int epoch_ = 0;                             // times one was forgotten: its messages are not taken for a later one's
};

}  // namespace kangpt::launcher
