// For LD_PRELOAD: a file system without locks. flock() fails with the error number in KANGPT_LOCK_ERROR.
#include <cerrno>
#include <cstdlib>

extern "C" int flock(int /*fd*/, int /*operation*/) noexcept {
  const char* const error = std::getenv("KANGPT_LOCK_ERROR");
  errno = error != nullptr ? std::atoi(error) : ENOLCK;
  return -1;
}
