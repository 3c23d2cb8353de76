// What harmed runs came to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kangpt::tools {

struct ChaosReport {
  int nodes = 1;
  bool was_stopped = false;  // by a signal: in all that follows, the run it came in is left out
  int runs = 0;
  int equal_digests = 0;
  int faults = 0;
  struct Kind {
    std::string name;
    int faults = 0;
    // To the end of the next step: from the notice of a worker's failure, from the fault where a new start was needed.
    std::vector<double> recovery_seconds = {};
  };
  std::vector<Kind> kinds;
  std::uint64_t steps = 0;            // of one run
  std::uint64_t worker_restarts = 0;  // inside a job
  std::uint64_t steps_lost = 0;       // over all restarts of workers
  std::uint64_t most_steps_lost = 0;  // by one of them
  std::uint64_t starts = 0;           // of jobs that were killed
  std::uint64_t steps_lost_by_starts = 0;
  std::uint64_t most_steps_lost_by_start = 0;  // where the memory of the nodes was still there
  std::uint64_t most_steps_lost_by_node = 0;   // where that of one was gone, and others had copies
  std::vector<double> recovery_seconds;        // from the notice of a worker's failure to the end of the next step
  std::vector<std::string> problems;           // a line for each run that did not end as the undisturbed one
};

std::string to_table(const ChaosReport& report);
std::string to_json(const ChaosReport& report);

}  // namespace kangpt::tools
