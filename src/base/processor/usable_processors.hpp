// How many processors there are to use.
#pragma once

#include <filesystem>

namespace kangpt::base {

// How many of `allowed` processors this process can keep busy: the quotas of its control groups (version 1 or 2) may
// grant it less time than these have, as containers and batch systems do. At least 1. `root`: where /proc and /sys lie.
int usable_processors(int allowed, const std::filesystem::path& root = "/");
// Of those that its affinity allows.
int usable_processors();

}  // namespace kangpt::base
