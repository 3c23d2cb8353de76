// Nodes that are pretended on one machine, by a memory folder for each.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace kangpt::tools {

class PretendedNodes {
 public:
  // Makes the folders, in the one that jobs have otherwise; 1: there is nothing to pretend, and that one remains.
  // Throws IoError.
  explicit PretendedNodes(int count);
  ~PretendedNodes();
  PretendedNodes(const PretendedNodes&) = delete;
  PretendedNodes& operator=(const PretendedNodes&) = delete;

  int count() const noexcept { return static_cast<int>(folders_.size()); }
  // The command with rank N on node N modulo their number. Throws UsageError where it does not name kangpt_dist.
  std::vector<std::string> spread(std::vector<std::string> command) const;
  // Whether a process that such a command started runs there.
  bool is_on(int node, pid_t process) const;
  // What that run has in the memory of one node, or of all.
  std::vector<std::filesystem::path> memory_of(const std::string& run_id, int node) const;
  std::vector<std::filesystem::path> memory_of(const std::string& run_id) const;

 private:
  std::filesystem::path parent_;  // of the folders; empty: none is pretended
  std::vector<std::filesystem::path> folders_;
};

}  // namespace kangpt::tools
