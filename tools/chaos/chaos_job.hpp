// A training job under somebody who harms it: its processes and what its run directory tells.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launcher/agent/stop_signals.hpp"
#include "launcher/agent/worker_process.hpp"

namespace kangpt::tools {

// Somebody wants kangpt_chaos to end: thrown where it waits.
struct ChaosStopped {};

// Runs a command (mpirun ... kangpt_dist ...) with its output appended to a file. Kills it on destruction. Signals go
// to processes that this object started, or their descendants.
class ChaosJob {
 public:
  // Throws IoError if it can't be started. Waiting for it ends with ChaosStopped after one of the signals.
  ChaosJob(const std::vector<std::string>& command, const std::filesystem::path& log_file,
           launcher::StopSignals& signals);
  ~ChaosJob();
  ChaosJob(const ChaosJob&) = delete;
  ChaosJob& operator=(const ChaosJob&) = delete;

  std::optional<launcher::ProcessEnd> poll_end();
  launcher::ProcessEnd wait();
  void signal(int signal);
  // The living processes below it that are called `name`.
  std::vector<pid_t> processes(const std::string& name);
  // Waits until all that it was seen to have started are gone, once it ended itself. False if some stay: they are
  // killed.
  bool await_descendants();

 private:
  void look_for_end();
  // Remembers them: they have no parent any more when mpirun is gone. Process numbers are used again, starts are not.
  void look_at_descendants();

  launcher::StopSignals& signals_;
  pid_t pid_ = -1;
  std::map<pid_t, std::uint64_t> descendants_;  // and when each started
  std::optional<launcher::ProcessEnd> end_;
};

// A folder of its own in /dev/shm for the memory that the Open MPI of all jobs started meanwhile shares, where the user
// has not named one: an mpirun that is killed in the middle of MPI_Init leaves files behind, which go with the folder.
// Changes the environment: one at a time, and no other threads.
class SegmentFolder {
 public:
  SegmentFolder();
  ~SegmentFolder();
  SegmentFolder(const SegmentFolder&) = delete;
  SegmentFolder& operator=(const SegmentFolder&) = delete;

 private:
  std::filesystem::path folder_;
};

// What events.jsonl of a run says so far.
struct RunEvents {
  int recovered = 0;
  std::vector<double> recovery_seconds;   // from the failure's notice to the end of the next step
  std::vector<std::uint64_t> steps_lost;  // by restart of the workers
  std::vector<std::uint64_t> steps_lost_by_start;
  double last_start_time = 0;  // seconds since 1970
};
RunEvents read_events(const std::filesystem::path& run_directory);
// When the last step was done that is logged, in seconds since 1970; 0: none.
double last_step_time(const std::filesystem::path& run_directory);

}  // namespace kangpt::tools
