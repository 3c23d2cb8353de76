// Harms a training job at random and checks that it ends with the bits of an undisturbed one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tools/chaos/chaos_report.hpp"

namespace kangpt::tools {

struct ChaosOptions {
  std::vector<std::string> command;  // mpirun ... kangpt_dist ...
  std::filesystem::path directory;   // gets a run directory for every run; must not exist
  int runs = 10;
  int faults_per_run = 4;
  std::uint64_t seed = 1;
  int nodes = 1;                   // to pretend
  std::vector<std::string> kinds;  // of faults, by word_of(); empty: all
};

// Runs the command once undisturbed and then `runs` times with faults, which depend on `seed` and on the job's timing.
// Says on standard error what it does. A signal to stop ends job and report early, with nothing left of the job's
// processes and memory. Throws Error if the undisturbed run fails.
ChaosReport run_chaos(const ChaosOptions& options);

}  // namespace kangpt::tools
