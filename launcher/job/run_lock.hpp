// One job a run directory.
#pragma once

#include <filesystem>
#include <string>

#include "base/unique_fd.hpp"

namespace kangpt::launcher {

// Holds RUN/lock while it lives: a kernel lock, which ends with the process that holds it, so that a stale file never
// stands in the way; on a file system without locks it only warns. The file names host and process. Move-only.
class RunLock {
 public:
  // Makes the run directory. Waits some seconds for a process that has it. Throws ConfigError that names the holder if
  // it keeps it, and the `option` that chooses another one; IoError.
  explicit RunLock(const std::filesystem::path& run_directory, const std::string& option = "--set run.directory=PATH");

 private:
  base::UniqueFd fd_;
};

}  // namespace kangpt::launcher
