#include "launcher/job/job_memory.hpp"

#include <utility>

#include "base/error.hpp"

namespace kangpt::launcher {

using sharding::ExchangeMemory;
using sharding::MemoryLabel;

JobMemory::JobMemory(MemoryLabel label, const std::optional<std::vector<int>>& sources) : label_(std::move(label)) {
  if (sources) make_with_copies(*sources);
  if (!outlives_job_) make();
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

void JobMemory::make() {
  try {
    memory_ = sharding::create_memory_file(label_);
    outlives_job_ = true;
    return;
  } catch (const IoError& error) {
    problem_ = error.what();
  }
  memory_ = base::SharedMemory::create("kangpt", sharding::memory_file_bytes(label_));
}

void JobMemory::drop_copies() noexcept {
  for (const KeptCopy& copy : copies_) sharding::remove_memory_file(copy.label);
  copies_.clear();
}

void JobMemory::forget_with_job() noexcept {
  remove();
  outlives_job_ = false;
}

void JobMemory::remove() noexcept {
  drop_copies();
  if (outlives_job_) sharding::remove_memory_file(label_);
}

}  // namespace kangpt::launcher
