#include "launcher/job/placement.hpp"

#include <sched.h>
#include <unistd.h>

namespace kangpt::launcher {

bool is_first_rank() {
  const auto launched = base::launched_rank();
  return !launched || launched->rank == 0;
}

std::string mixture_problem(const base::LaunchedRank& launched, const std::string& mpi_library) {
  return launched.launcher + " started " + std::to_string(launched.size) + " processes, but the MPI library here, " +
         mpi_library +
         ", makes each a job of its own: it belongs to another MPI than the launcher, so that each would train all by "
         "itself. Start kangpt_dist with the mpirun of that library (`mpirun --version` says which one the shell "
         "finds), or build it with the other MPI; docs/installing.md names those that do";
}

std::vector<int> job_cpus() {
  const auto launched = base::launched_rank();
  const bool under_mpirun = launched && launched->is_open_mpi;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (!under_mpirun || ::sched_getaffinity(::getppid(), sizeof set, &set) != 0)
    ::sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> worker_cpus(const std::vector<int>& cpus, int local_rank, int local_size, int threads) {
  const std::size_t share = cpus.size() / static_cast<std::size_t>(local_size);
  if (share < static_cast<std::size_t>(threads)) return cpus;
  const auto begin = cpus.begin() + static_cast<std::ptrdiff_t>(share) * local_rank;
  return {begin, begin + static_cast<std::ptrdiff_t>(share)};
}

}  // namespace kangpt::launcher
