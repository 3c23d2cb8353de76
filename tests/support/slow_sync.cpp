// For LD_PRELOAD: fsync of a checkpoint's state files takes KANGPT_SLOW_SYNC_MICROSECONDS longer, as on a disk that is
// slow or busy; on KANGPT_SLOW_SYNC_RANK alone where that is set.
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

bool is_state_file(int fd) {
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
  return size > 0 && std::string_view(path.data(), static_cast<std::size_t>(size)).find("/state-") != std::string::npos;
}

bool is_slow_rank() {
  const char* const slow = std::getenv("KANGPT_SLOW_SYNC_RANK");
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return slow == nullptr || (rank != nullptr && std::string_view(slow) == rank);
}

}  // namespace

extern "C" int fsync(int fd) {
  const char* const microseconds = std::getenv("KANGPT_SLOW_SYNC_MICROSECONDS");
  if (microseconds != nullptr && is_slow_rank() && is_state_file(fd))
    ::usleep(static_cast<useconds_t>(std::atol(microseconds)));
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
