// Which Slurm job began the run in a directory, so that a requeued one is told from a new one.
#pragma once

#include <filesystem>

namespace kangpt::launcher {

// Has Slurm put this job back into the queue after a start of it had begun the run in `run_directory`?
bool is_requeued(const std::filesystem::path& run_directory);

// Remembers that this job, if Slurm started it, has begun the run there. Throws IoError.
void remember_slurm_job(const std::filesystem::path& run_directory);

}  // namespace kangpt::launcher
