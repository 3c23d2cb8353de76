#include "base/paths.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/command.hpp"
#include "base/error.hpp"

namespace kangpt::base {

namespace fs = std::filesystem;

void check_can_make(const fs::path& path) {
  fs::path nearest = path;
  while (::access(nearest.c_str(), F_OK) != 0 && nearest.has_relative_path() && nearest != nearest.parent_path())
    nearest = nearest.has_parent_path() ? nearest.parent_path() : fs::path(".");
  if (!fs::is_directory(nearest)) throw_io_error("cannot create directory", path.string(), ENOTDIR);
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) throw_io_error("cannot create directory", path.string(), errno);
}

std::string expand_home(const std::string& path) {
  if (path != "~" && !path.starts_with("~/")) return path;
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return home + path.substr(1);
  throw ConfigError("'" + path + "' begins with the home directory, but HOME is not set; write the whole path");
}

fs::path cache_directory() {
  const char* const cache = std::getenv("KANGPT_CACHE");
  if (cache != nullptr && *cache != '\0') return cache;
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return fs::path(home) / ".cache" / "kangpt";
  throw MissingInputError(
      "neither KANGPT_CACHE nor HOME is set, so that nothing says where `make setup` has put the GPT-2 vocabulary; set "
      "KANGPT_CACHE to that folder");
}

fs::path shared_directory() {
  const fs::path directory = (program_folder() / KANGPT_SHARED_FOLDER).lexically_normal();
  std::error_code unreadable;
  return fs::is_directory(directory, unreadable) ? directory : fs::path();
}

}  // namespace kangpt::base
