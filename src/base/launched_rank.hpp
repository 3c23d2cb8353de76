// What the launcher of a parallel job (mpirun, srun) tells each process in its environment.
#pragma once

#include <optional>
#include <string>

namespace kangpt::base {

struct LaunchedRank {
  std::string launcher;  // with the variable that tells it: "mpirun of Open MPI (OMPI_COMM_WORLD_SIZE)"
  int rank = 0;
  int size = 0;  // of the job; 0 where this launcher does not say
  bool is_open_mpi = false;
};

// Of the launchers that have set something, the one nearest to this process: Open MPI's, one with PMIx, one of MPICH's
// family, srun. Nothing where no launcher has.
std::optional<LaunchedRank> launched_rank();

}  // namespace kangpt::base
