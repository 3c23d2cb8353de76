// One job on this rank: its pieces, from the settled set-up to the end of training.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/parameter_table.hpp"
#include "launcher/agent/agent.hpp"
#include "launcher/job/job_memory.hpp"
#include "launcher/job/job_setup.hpp"
#include "launcher/record/run_log.hpp"
#include "sharding/partition.hpp"

namespace kangpt::launcher {

// Composition of an agent happens here alone. Borrows group and signals. Every rank makes one and runs it.
class Job {
 public:
  // Takes the memory that agent and worker share. Throws IoError.
  Job(sharding::MpiGroup& group, StopSignals& signals, JobSetup setup, World world);

  // Trains. `program_folder` holds kangpt_worker; `cpus` are those of this node. The same exit code on every rank;
  // throws EndedElsewhere, or an Error that only this rank has.
  ExitCode run(const std::filesystem::path& program_folder, const std::vector<int>& cpus);

 private:
  bool on_gpu() const noexcept { return setup_.device == config::Device::kCuda; }
  std::string worker_configuration() const;
  CheckpointPlan checkpoint_plan() const;
  sharding::MemoryLabel memory_label() const;
  std::optional<std::vector<int>> copied_ranks() const;
  int arrays_of_slots() const;
  WorkerCommand worker_command(const std::vector<int>& cpus) const;
  AgentOptions agent_options(const std::filesystem::path& program_folder, const std::vector<int>& cpus);

  void open_log();
  void close_log(ExitCode code);
  bool settle_memory();
  CopyPlan settle_copies();
  void give_memory_back();
  std::uint64_t fired_faults();
  void report(const CheckpointOutcome& outcome);

  std::optional<io::TrainingState> load(StartPoint& start);
  std::optional<io::TrainingState> load_newest();
  StartPoint find_start_below(std::uint64_t step);
  void read_range(const std::filesystem::path& folder);
  ExitCode end_code(ExitCode code);

  sharding::MpiGroup& group_;
  StopSignals& signals_;
  JobSetup setup_;
  World world_;
  std::filesystem::path run_;
  base::ParameterTable table_;
  sharding::Partition partition_;
  JobMemory shared_;
  sharding::ExchangeMemory memory_;
  ExchangeRunner exchanges_;
  CheckpointWriter checkpoints_;
  std::optional<RunLog> log_;  // rank 0's
};

// Says what was noticed while a job was settled, a line each.
void say_notes(const CheckedJob& job);

}  // namespace kangpt::launcher
