// What kangpt_chaos does to a job.
#pragma once

#include <algorithm>
#include <array>
#include <string>

namespace kangpt::tools {

enum class Fault {
  kSegv,
  kKill,
  kAbort,
  kStop,
  kKillAllWorkers,
  kPauseAgent,
  kStopAgent,
  kKillAgent,
  kKillAgentAndWorker,
  kKillJob,
  kStopJob,
  kLoseNode,
  kCorrupt
};
inline constexpr std::array<const char*, 13> kFaultNames = {
    "worker SEGV",           "worker KILL",  "worker ABRT", "worker STOP",
    "all workers KILL",      "agent paused", "agent STOP",  "agent KILL",
    "agent and worker KILL", "mpirun KILL",  "mpirun TERM", "node lost with its memory",
    "checkpoint byte"};

// As one word, for the command line.
inline std::string word_of(std::string fault_name) {
  std::ranges::replace(fault_name, ' ', '-');
  return fault_name;
}

}  // namespace kangpt::tools
