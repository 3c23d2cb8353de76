// For LD_PRELOAD, or linked into a test: files whose path contains KANGPT_UNREADABLE can't be read (EIO), as on a bad
// disk; with KANGPT_UNREADABLE_RANK on that rank's node alone.
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

bool is_here() noexcept {
  const char* const wanted = std::getenv("KANGPT_UNREADABLE_RANK");
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return wanted == nullptr || (rank != nullptr && std::strcmp(wanted, rank) == 0);
}

bool is_unreadable(int fd) noexcept {
  const char* const part = std::getenv("KANGPT_UNREADABLE");
  if (part == nullptr || !is_here()) return false;
  std::array<char, 64> link{};
  std::array<char, 4096> path{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  return ::readlink(link.data(), path.data(), path.size() - 1) > 0 && std::strstr(path.data(), part) != nullptr;
}

}  // namespace

extern "C" {

ssize_t read(int fd, void* target, std::size_t size) {
  if (!is_unreadable(fd)) return ::syscall(SYS_read, fd, target, size);
  errno = EIO;
  return -1;
}

ssize_t pread(int fd, void* target, std::size_t size, off_t offset) {
  if (!is_unreadable(fd)) return ::syscall(SYS_pread64, fd, target, size, offset);
  errno = EIO;
  return -1;
}

ssize_t pread64(int fd, void* target, std::size_t size, off64_t offset) {
  return pread(fd, target, size, offset);
}

}  // extern "C"
