// The memory that an agent shares with its worker, and that in which it keeps copies of other ranks' snapshots: in
// files that outlive the job where there is room for them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/shared_memory.hpp"
#include "sharding/memory_file.hpp"

namespace kangpt::launcher {

// What a rank keeps of another one.
struct KeptCopy {
  sharding::MemoryLabel label;
  base::SharedMemory memory;
};

// Owns the mappings. Their files stay, whatever becomes of this object, until remove(): a killed job has no last word.
class JobMemory {
 public:
  // `label` is of this rank; `sources`: the ranks whose copies it keeps, maybe none; nullopt: nobody has copies.
  // Without room for the copies it goes without them, without room for its own file it takes anonymous memory. Throws
  // IoError.
  JobMemory(sharding::MemoryLabel label, const std::optional<std::vector<int>>& sources);

  std::span<std::byte> bytes() const noexcept { return memory_.bytes(); }
  int fd() const noexcept { return memory_.fd(); }
  int slots() const noexcept { return label_.slots; }
  bool outlives_job() const noexcept { return outlives_job_; }
  // Why it does not; empty: it does.
  const std::string& problem() const noexcept { return problem_; }
  const std::vector<KeptCopy>& copies() const noexcept { return copies_; }
  // Why there is no memory for copies that were asked for; empty: there is.
  const std::string& copies_problem() const noexcept { return copies_problem_; }
  // Where another rank has no room for its part: of copies, or of all.
  void drop_copies() noexcept;
  void forget_with_job() noexcept;
  void remove() noexcept;

 private:
  void make_with_copies(const std::vector<int>& sources);
  void make();

  sharding::MemoryLabel label_;
  bool outlives_job_ = false;
  std::string problem_;
  base::SharedMemory memory_;
  std::vector<KeptCopy> copies_;
  std::string copies_problem_;
};

}  // namespace kangpt::launcher
