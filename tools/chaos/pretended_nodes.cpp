#include "tools/chaos/pretended_nodes.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/error.hpp"
#include "base/file.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = "kangpt_dist";
constexpr char kMemoryVariable[] = "KANGPT_SHM";
// Of Open MPI, or of another launcher with PMIx. Told: the folders' parent and the number of nodes.
constexpr char kSpread[] =
    R"sh(export KANGPT_SHM="$0/$((${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-0}} % $1))"; shift; exec "$@")sh";

}  // namespace

PretendedNodes::PretendedNodes(int count) {
  if (count == 1) {
    folders_.push_back(sharding::memory_folder());
    return;
  }
  parent_ = sharding::memory_folder() / ("kangpt-nodes-" + std::to_string(::getpid()));
  for (int node = 0; node < count; ++node) {
    folders_.push_back(parent_ / std::to_string(node));
    base::make_directories(folders_.back());
  }
}

PretendedNodes::~PretendedNodes() {
  std::error_code error;
  if (!parent_.empty()) fs::remove_all(parent_, error);
}

std::vector<std::string> PretendedNodes::spread(std::vector<std::string> command) const {
  if (parent_.empty()) return command;
  const auto program =
      std::ranges::find_if(command, [](const std::string& word) { return fs::path(word).filename() == kProgram; });
  if (program == command.end())
    throw UsageError("--nodes is for a command that names kangpt_dist, such as: mpirun -np 2 kangpt_dist");
  command.insert(program, {"sh", "-c", kSpread, parent_.string(), std::to_string(count())});
  return command;
}

bool PretendedNodes::is_on(int node, pid_t process) const {
  if (parent_.empty()) return true;
  const std::string wanted = kMemoryVariable + std::string("=") + folders_[static_cast<std::size_t>(node)].string();
  std::ifstream environment("/proc/" + std::to_string(process) + "/environ");
  for (std::string entry; std::getline(environment, entry, '\0');) {
    if (entry == wanted) return true;
  }
  return false;
}

std::vector<fs::path> PretendedNodes::memory_of(const std::string& run_id, int node) const {
  if (run_id.empty()) return {};
  return sharding::find_memory_files_in(folders_[static_cast<std::size_t>(node)], run_id);
}

std::vector<fs::path> PretendedNodes::memory_of(const std::string& run_id) const {
  std::vector<fs::path> all;
  for (int node = 0; node < count(); ++node) std::ranges::move(memory_of(run_id, node), std::back_inserter(all));
  return all;
}

}  // namespace kangpt::tools
