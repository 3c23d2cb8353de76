#include "base/unique_fd.hpp"

#include <unistd.h>

namespace kangpt::base {

void UniqueFd::reset(int fd) noexcept {
  const int old = std::exchange(fd_, fd);
  if (old >= 0) ::close(old);
}

}  // namespace kangpt::base
