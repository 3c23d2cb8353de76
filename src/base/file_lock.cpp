#include "base/file_lock.hpp"

#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.hpp"

namespace kangpt::base {

bool try_lock(const UniqueFd& fd, const std::filesystem::path& path) {
  while (::flock(fd.value(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return false;
    log_warning("cannot lock " + path.string() + " (" + std::strerror(errno) +
                "): going on without; make sure that nothing else writes there at the same time");
    return true;
  }
  return true;
}

}  // namespace kangpt::base
