// What killed jobs left in the memory of this node, as text; and its removal.
#pragma once

#include <filesystem>
#include <string>

namespace kangpt::tools {

// A line for each file that a job of this user keeps or left in memory, of one run directory or (empty) of all; ""
// where there is none.
std::string memory_text(const std::filesystem::path& run_directory);

// Deletes those that no process uses. A line for each.
std::string remove_left_memory(const std::filesystem::path& run_directory);

}  // namespace kangpt::tools
