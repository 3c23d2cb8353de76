// The memory that an agent shares with its worker, in a file that outlives the job where there is room for one.
#pragma once

#include <string>

#include "base/shared_memory.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::launcher {

// Whether a rank says for its node what is amiss there.
enum class Voice { kSilent, kOfNode };

// Owns the mapping. Its file stays, whatever becomes of this object, until remove(): a killed job has no last word.
class JobMemory {
 public:
  // Without room for the file it takes anonymous memory and says what that may cost. Throws IoError.
  JobMemory(sharding::MemoryLabel label, Voice voice);

  std::span<std::byte> bytes() const noexcept { return memory_.bytes(); }
  int fd() const noexcept { return memory_.fd(); }
  bool outlives_job() const noexcept { return outlives_job_; }
  void remove() noexcept;

 private:
  base::SharedMemory make(Voice voice);

  sharding::MemoryLabel label_;
  bool outlives_job_ = false;
  base::SharedMemory memory_;
};

}  // namespace kangpt::launcher
