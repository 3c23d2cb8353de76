// One writer for a file or folder.
#pragma once

#include <filesystem>

#include "base/unique_fd.hpp"

namespace kangpt::base {

// An exclusive lock of the kernel on an open file or folder, until it is closed. False if another process holds it. On
// a file system without locks (some network file systems): true, with a warning that names `path`.
bool try_lock(const UniqueFd& fd, const std::filesystem::path& path);

}  // namespace kangpt::base
