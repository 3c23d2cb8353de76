#include "launcher/job/job_memory.hpp"

#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"

namespace kangpt::launcher {

using sharding::ExchangeMemory;
using sharding::MemoryLabel;

JobMemory::JobMemory(MemoryLabel label, const std::optional<std::vector<int>>& sources, Voice voice)
    : label_(std::move(label)) {
  if (sources) make_with_copies(*sources);
  if (!outlives_job_) make(voice);
}

void JobMemory::make_with_copies(const std::vector<int>& sources) {
  label_.slots = ExchangeMemory::kMostSlots;
  try {
    memory_ = sharding::create_memory_file(label_);
    outlives_job_ = true;
    for (const int source : sources) {
      MemoryLabel copy = label_;
      copy.rank = source;
      copy.slots = ExchangeMemory::kSlots;
      copy.kind = MemoryLabel::Kind::kCopy;
      base::SharedMemory memory = sharding::create_memory_file(copy);
      copies_.push_back({std::move(copy), std::move(memory)});
    }
  } catch (const IoError& error) {
    copies_problem_ = error.what();
    remove();
    outlives_job_ = false;
    label_.slots = ExchangeMemory::kSlots;
    memory_ = {};
    copies_.clear();
  }
}

void JobMemory::make(Voice voice) {
  try {
    memory_ = sharding::create_memory_file(label_);
    outlives_job_ = true;
    return;
  } catch (const IoError& error) {
    if (voice == Voice::kOfNode) {
      base::log_warning(
          std::string(error.what()) +
          ": if this whole job is killed, or its mpirun, all steps since the last checkpoint are computed "
          "again; more room in " +
          sharding::memory_folder().string() + ", or another memory file system in KANGPT_SHM, avoids that");
    }
  }
  memory_ = base::SharedMemory::create("kangpt", sharding::memory_file_bytes(label_));
}

void JobMemory::drop_copies() noexcept {
  for (const KeptCopy& copy : copies_) sharding::remove_memory_file(copy.label);
  copies_.clear();
}

void JobMemory::remove() noexcept {
  drop_copies();
  if (outlives_job_) sharding::remove_memory_file(label_);
}

}  // namespace kangpt::launcher
