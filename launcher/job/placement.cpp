#include "launcher/job/placement.hpp"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace kangpt::launcher {

bool is_first_rank() {
  for (const char* const name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* const rank = std::getenv(name)) return std::string_view(rank) == "0";
  }
  return true;
}

std::vector<int> job_cpus() {
  const bool under_mpirun = std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr;
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
