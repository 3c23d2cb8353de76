// Where this process stands in its job, and which processors a worker runs on.
#pragma once

#include <vector>

namespace kangpt::launcher {

// Whether this is the first process of a parallel job, as the program that started it says in the environment (Open
// MPI's mpirun, PMIx, MPICH's Hydra, srun); true outside of one.
bool is_first_rank();

// The processors that the job may use on this node: those of the process that started the agents (mpirun binds its
// children one by one, which would leave a worker with several threads on one processor), or of this process where it
// was started without mpirun. Ascending.
std::vector<int> job_cpus();

// The part of `cpus` for the worker `local_rank` of `local_size` on the node: an even share where every worker can have
// `threads` of its own, else all.
std::vector<int> worker_cpus(const std::vector<int>& cpus, int local_rank, int local_size, int threads);

}  // namespace kangpt::launcher
