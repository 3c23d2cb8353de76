// One run under faults: the same command again and again until it is done, harmed meanwhile.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "launcher/agent/stop_signals.hpp"
#include "tools/chaos/chaos.hpp"
#include "tools/chaos/chaos_job.hpp"
#include "tools/chaos/faults.hpp"
#include "tools/chaos/pretended_nodes.hpp"

namespace kangpt::tools {

// What all runs share.
struct ChaosPlace {
  const ChaosOptions& options;
  const PretendedNodes& nodes;
  launcher::StopSignals& signals;
};

// What has gone of the memory before a start.
enum class MemoryLoss { kNone, kNode, kAll };

class HarmedRun {
 public:
  // `number` decides on directory and faults. `expected_seconds`: of an undisturbed run.
  HarmedRun(const ChaosPlace& place, int number, double expected_seconds);

  // "" or why it did not end well. Throws ChaosStopped.
  std::string run(int faults);
  // What it holds in memory for a next start.
  void remove_memory() const;

  const std::filesystem::path& directory() const noexcept { return directory_; }
  const std::map<Fault, int>& counts() const noexcept { return counts_; }
  const std::map<Fault, std::vector<double>>& recoveries() const noexcept { return recoveries_; }
  // Of what the start before this one (the first is 0) had left; a node's is not all where there are several.
  MemoryLoss loss_before(std::size_t start) const;

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  Fault draw();
  bool pass_some_time(ChaosJob& job);
  void look_for_first_step();
  std::size_t starts() const;
  void expect_start(Fault fault);
  bool harm(ChaosJob& job);
  bool kill_job(ChaosJob& job, Fault fault);
  bool lose_node(ChaosJob& job);
  std::uint64_t newest_step() const;
  bool is_in_memory(std::uint64_t step) const;
  bool harm_workers(ChaosJob& job, Fault fault, int signal);
  bool harm_agent(ChaosJob& job, Fault fault);
  bool await_end(ChaosJob& job);
  bool corrupt_newest();
  void count(Fault fault);

  struct NeededStart {
    Fault fault;
    std::chrono::steady_clock::time_point time;
    std::size_t starts = 0;  // before
  };

  ChaosPlace place_;
  std::filesystem::path directory_;
  double expected_seconds_;
  std::mt19937_64 random_;
  std::vector<std::string> command_;
  std::map<Fault, int> counts_;
  std::map<Fault, std::vector<double>> recoveries_;
  std::set<std::size_t> without_memory_;             // starts
  std::map<std::size_t, std::set<int>> lost_nodes_;  // before each start
  std::optional<NeededStart> needed_start_;
  std::discrete_distribution<std::size_t> draw_;
  int faults_left_ = 0;
  int may_end_with_ = 0;  // an exit code that the last fault excuses
  std::string problem_;
};

}  // namespace kangpt::tools
