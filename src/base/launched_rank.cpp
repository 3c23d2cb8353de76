#include "base/launched_rank.hpp"

#include <array>
#include <cstdlib>

namespace kangpt::base {
namespace {

struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
};

// Open MPI's sets PMIX_RANK too, and under Slurm all of them have srun's. PMIx passes the size in no variable, hence
// srun's, which starts most jobs of that kind. SLURM_NTASKS is no size: a batch script has it too, before any srun.
constexpr std::array kLaunchers = {
    Launcher{"mpirun of Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    Launcher{"srun with PMIx", "PMIX_RANK", "SLURM_STEP_NUM_TASKS"},
    Launcher{"mpiexec of MPICH's family", "PMI_RANK", "PMI_SIZE"},
    Launcher{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};

int number(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr ? std::atoi(value) : 0;
}

}  // namespace

std::optional<LaunchedRank> launched_rank() {
  for (const Launcher& launcher : kLaunchers) {
    if (std::getenv(launcher.rank) == nullptr) continue;
    return LaunchedRank{.launcher = std::string(launcher.name) + " (" + launcher.size + ")",
                        .rank = number(launcher.rank),
                        .size = number(launcher.size),
                        .is_open_mpi = &launcher == &kLaunchers.front()};
  }
  return std::nullopt;
}

}  // namespace kangpt::base
