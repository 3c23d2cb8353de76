// What kangpt_chaos does to a job.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

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

inline std::vector<std::string> fault_words() {
  std::vector<std::string> words;
  for (const char* const name : kFaultNames) words.push_back(word_of(name));
  return words;
}

// For --help, a few on each line.
inline std::string lines_of_fault_words() {
  constexpr std::size_t kWordsOfALine = 5;
  std::string lines;
  for (std::size_t i = 0; i < kFaultNames.size(); ++i)
    lines += (i % kWordsOfALine == 0 ? "\n  " : " ") + word_of(kFaultNames[i]);
  return lines;
}

}  // namespace kangpt::tools
