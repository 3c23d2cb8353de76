// What kangpt_chaos does to a job.
#pragma once

#include <array>

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

}  // namespace kangpt::tools
