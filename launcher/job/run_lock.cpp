#include "launcher/job/run_lock.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/file_lock.hpp"

namespace kangpt::launcher {
namespace {

// Agents whose mpirun was killed still save what they hold when the same command comes again.
constexpr std::chrono::milliseconds kPatience(5000), kPoll(20);

bool lock_patiently(const base::UniqueFd& fd, const std::filesystem::path& file) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!base::try_lock(fd, file)) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

std::string this_process() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return "process " + std::to_string(::getpid()) + " on " + host.data() + "\n";
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run_directory, const std::string& option) {
  base::make_directories(run_directory);
  const std::filesystem::path file = run_directory / "lock";
  fd_.reset(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd_) throw_io_error("cannot open", file.string(), errno);
  if (!lock_patiently(fd_, file)) {
    std::string holder = base::read_file(file);
    if (!holder.empty()) holder.pop_back();
    throw ConfigError("the run directory " + run_directory.string() + " is in use by " +
                      (holder.empty() ? "another job" : holder) +
                      "; wait for it to end, or choose another one: " + option);
  }
  const std::string text = this_process();
  if (::ftruncate(fd_.value(), 0) != 0 || ::write(fd_.value(), text.data(), text.size()) < 0)
    throw_io_error("cannot write", file.string(), errno);
}

}  // namespace kangpt::launcher
