// Snapshots that a killed job left in the memory of its nodes: they become a checkpoint before the next start looks for
// one.
#pragma once

#include <filesystem>
#include <string>

#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::launcher {

// Whether a rank looks at what is left on its node.
enum class Voice { kSilent, kOfNode };

// Looks at what the nodes hold of the run, at whatever number of ranks it was. The newest step that all ranks of a
// start left whole, of which metrics.jsonl has all lines if there is such a one, is written as a checkpoint, unless
// there is a newer one, and the memory is given back. What can't be written stays where it is: then all ranks throw
// EndedElsewhere. A rank's own file and its copy on another node are as good as each other. Collective; rank 0 holds
// the run's lock, and one rank of each node looks there.
void save_left_snapshots(sharding::MpiGroup& group, const std::filesystem::path& run_directory, const std::string& id,
                         Voice voice);

}  // namespace kangpt::launcher
