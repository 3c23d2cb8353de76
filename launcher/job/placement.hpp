// Where this process stands in its job, and which processors a worker runs on.
#pragma once

#include <string>
#include <vector>

#include "base/launched_rank.hpp"

namespace kangpt::launcher {

// Whether this is the first process of a parallel job, as its launcher says in the environment; true outside of one.
bool is_first_rank();

// What is wrong where the launcher of this process started several, and MPI makes each a world of its own: they belong
// to different MPIs. `mpi_library`: the library's name and version.
std::string mixture_problem(const base::LaunchedRank& launched, const std::string& mpi_library);

// The processors that the job may use on this node: those of the process that started the agents (mpirun binds its
// children one by one, which would leave a worker with several threads on one processor), or of this process where it
// was started without mpirun. Ascending.
std::vector<int> job_cpus();

// The part of `cpus` for the worker `local_rank` of `local_size` on the node: an even share where every worker can have
// `threads` of its own, else all.
std::vector<int> worker_cpus(const std::vector<int>& cpus, int local_rank, int local_size, int threads);

}  // namespace kangpt::launcher
