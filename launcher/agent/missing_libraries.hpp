// Why the loader can't start a program.
#pragma once

#include <filesystem>
#include <string>

namespace kangpt::launcher {

// The libraries, or versions of them, that the loader does not find for `program`, where it looked, and how to go on;
// "" if it finds all. Asks the loader itself.
std::string missing_libraries(const std::filesystem::path& program);

}  // namespace kangpt::launcher
