#include "tests/support/small_disk.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>

namespace kangpt::test {
namespace {

void write_line(const char* file, const std::string& line) {
  std::ofstream(file) << line << std::flush;
}

// In a user namespace of its own this process stays who it is: files of users without a name there can't be made.
bool enter_user_namespace() {
  const std::string user = std::to_string(::geteuid());
  const std::string group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  write_line("/proc/self/setgroups", "deny");
  write_line("/proc/self/uid_map", user + " " + user + " 1");
  write_line("/proc/self/gid_map", group + " " + group + " 1");
  return true;
}

void remount(const fs::path& folder, unsigned long flags, const char* options) {
  if (::mount("none", folder.c_str(), nullptr, MS_REMOUNT | flags, options) != 0)
    throw std::system_error(errno, std::generic_category(), "remounting " + folder.string());
}

}  // namespace

bool mount_small_disk(const fs::path& folder, const std::string& size) {
  fs::create_directories(folder);
  if (::unshare(CLONE_NEWNS) != 0 && !enter_user_namespace()) return false;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return ::mount("tmpfs", folder.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
}

void resize_disk(const fs::path& folder, const std::string& size) {
  remount(folder, 0, ("size=" + size).c_str());
}

void make_read_only(const fs::path& folder) {
  remount(folder, MS_RDONLY, nullptr);
}

void fill_disk(const fs::path& ballast) {
  std::ofstream file(ballast, std::ios::binary);
  while (file << std::string(4096, 'x') << std::flush) {
  }
}

void unmount(const fs::path& folder) {
  ::umount2(folder.c_str(), MNT_DETACH);
}

}  // namespace kangpt::test
