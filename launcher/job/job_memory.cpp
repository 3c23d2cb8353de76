#include "launcher/job/job_memory.hpp"

#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"

namespace kangpt::launcher {

JobMemory::JobMemory(sharding::MemoryLabel label, Voice voice) : label_(std::move(label)), memory_(make(voice)) {}

base::SharedMemory JobMemory::make(Voice voice) {
  try {
    base::SharedMemory memory = sharding::create_memory_file(label_);
    outlives_job_ = true;
    return memory;
  } catch (const IoError& error) {
    if (voice == Voice::kOfNode) {
      base::log_warning(
          std::string(error.what()) +
          ": if this whole job is killed, or its mpirun, all steps since the last checkpoint are computed "
          "again; more room in " +
          sharding::memory_folder().string() + ", or another memory file system in KANGPT_SHM, avoids that");
    }
  }
  return base::SharedMemory::create("kangpt", sharding::memory_file_bytes(label_));
}

void JobMemory::remove() noexcept {
  if (outlives_job_) sharding::remove_memory_file(label_);
}

}  // namespace kangpt::launcher
