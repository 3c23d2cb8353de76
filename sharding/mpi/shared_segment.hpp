// The name of the memory that Open MPI shares among the processes of a node.
#pragma once

#include <string>

namespace kangpt::sharding {

// Open MPI keeps the file behind its shared memory until MPI_Finalize, so that a killed mpirun would leave it in
// /dev/shm. Once all processes of the node have mapped it, nobody needs its name any more: deletes this process's one
// and returns its path, "" where there is none.
std::string unlink_shared_segment(int rank);

// Before MPI_Finalize, which wants to delete the file itself and complains where it can't.
void put_back_shared_segment(const std::string& path) noexcept;

// After MPI_Finalize: Open MPI 5 leaves the file where no mpirun started the process.
void remove_shared_segment(const std::string& path) noexcept;

}  // namespace kangpt::sharding
