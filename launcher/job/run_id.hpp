// What tells the memory of one run from that of others.
#pragma once

#include <filesystem>
#include <string>

namespace kangpt::launcher {

// Made at the first start in a run directory and the same at all later ones, also where the directory is renamed;
// another one in a copy of it. 32 hexadecimal digits. Throws IoError. REQUIRES: the run directory is there and locked.
std::string run_id(const std::filesystem::path& run_directory);
// "" where there has been no start.
std::string existing_run_id(const std::filesystem::path& run_directory);

}  // namespace kangpt::launcher
