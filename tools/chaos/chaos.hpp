// Harms a training job at random and checks that it ends with the bits of an undisturbed one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kangpt::tools {

struct ChaosOptions {
  std::vector<std::string> command;  // mpirun ... kangpt_dist ...
  std::filesystem::path directory;   // gets a run directory for every run; must not exist
  int runs = 10;
  int faults_per_run = 4;
  std::uint64_t seed = 1;
};

struct ChaosReport {
  int runs = 0;
  int equal_digests = 0;
  int faults = 0;
  std::vector<std::pair<std::string, int>> faults_by_kind;
  std::uint64_t steps = 0;             // of one run
  std::uint64_t worker_restarts = 0;   // inside a job
  std::uint64_t steps_lost = 0;        // over all restarts of workers
  std::uint64_t most_steps_lost = 0;   // by one of them
  double median_recovery_seconds = 0;  // from the notice of a worker's failure to the end of the next step
  double worst_recovery_seconds = 0;
  std::vector<std::string> problems;  // a line for each run that did not end as the undisturbed one
};

// Runs the command once undisturbed and then `runs` times with faults, which depend on `seed` and on the job's timing.
// Says on standard error what it does. Throws Error if the undisturbed run fails.
ChaosReport run_chaos(const ChaosOptions& options);

std::string to_table(const ChaosReport& report);
std::string to_json(const ChaosReport& report);

}  // namespace kangpt::tools
