// Paths as users write them, and what can be said of one before it is used.
#pragma once

#include <filesystem>
#include <string>

namespace kangpt::base {

// `path` with the user's home for a leading "~", which no shell has expanded where a path comes from a configuration or
// stands behind "=". Throws ConfigError if HOME is not set.
std::string expand_home(const std::string& path);

// Where `make setup` puts LibTorch and the GPT-2 vocabulary: KANGPT_CACHE, or .cache/kangpt in HOME. Throws
// MissingInputError if neither is set.
std::filesystem::path cache_directory();

// Where the files lie that `cmake --install` puts beside the programs, in ../share/kangpt: vocabularies and named
// configurations. "" where this program is not installed, such as in a build folder.
std::filesystem::path shared_directory();

// Throws IoError where make_directories() would, without making any: the nearest folder above that exists has to be one
// that this user may write to.
void check_can_make(const std::filesystem::path& path);

}  // namespace kangpt::base
