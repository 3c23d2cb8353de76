// What agents tell each other when a life of their workers ends.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "io/training_state.hpp"
#include "launcher/agent/exchange_runner.hpp"
#include "sharding/agent_protocol.hpp"

namespace kangpt::launcher {

// How a worker failed.
struct WorkerFailure {
  ExitCode code = ExitCode::kInternal;  // kInternal: a crash or a hang, worth another try; else the job ends with it
  std::string message;                  // "died of SIGSEGV (Segmentation fault)"
  std::uint64_t step = 0;               // being computed, by its heartbeat
  std::string phase;
  int signal = 0;
  double stuck_seconds = 0;                // without a sign of life; 0: it ended by itself
  std::optional<std::uint64_t> bad_batch;  // its loss or gradient is not finite, and the policy is ROLLBACK
};

// "rank 1: the worker died of SIGSEGV (Segmentation fault) in reduce at step 812"
std::string describe(int rank, const WorkerFailure& failure);

// The step in each slot of a rank's memory; -1: none.
using SlotSteps = std::array<std::int64_t, sharding::ExchangeMemory::kMostSlots>;

// One rank's position in the agreement. `notified`: it sent a failure notice to all others.
struct AgentStatus {
  std::optional<ExitCode> finished;
  std::optional<WorkerFailure> failure;
  bool notified = false;
  bool stop_requested = false;          // by a signal
  bool interrupted = false;             // by one whose sender has little time: this ended the workers' life
  std::uint64_t checkpoints_begun = 0;  // by its checkpoint writer
  std::int64_t failed_checkpoint = -1;  // rank 0: step of the newest one if it could not be written; -1: none
  std::int64_t wanted_on_disk = -1;     // the newest step that its worker wanted on disk; -1: none
  std::uint64_t fired_faults = 0;       // bit i: fault.inject number i happened here
  ExchangePosition exchange;
  SlotSteps snapshot_steps = {-1, -1, -1, -1};
};

std::string to_text(const AgentStatus& status);
AgentStatus status_from_text(const std::string& text);

// The newest step that every rank holds: ranks differ by one publication at most, and keep the one before. -1: none.
std::int64_t newest_common_step(const std::vector<AgentStatus>& statuses);

// The batch to leave out from now on, if a worker asks for that.
std::optional<std::uint64_t> bad_batch(const std::vector<AgentStatus>& statuses);

// A published slot.
struct Snapshot {
  io::TrainingState state;
  std::uint64_t checksum = 0;
};
using Snapshots = std::array<std::optional<Snapshot>, sharding::ExchangeMemory::kMostSlots>;

// The step of each slot, as in AgentStatus.
SlotSteps steps_of(const Snapshots& snapshots);

}  // namespace kangpt::launcher
