// The process of one worker, as its agent sees it.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace kangpt::launcher {

// How a process ended.
struct ProcessEnd {
  int exit_code = 0;  // valid if signal == 0
  int signal = 0;
  std::string describe() const;  // "died of SIGSEGV (Segmentation fault)", "ended with exit code 3"
};

// A program as it is when this is made: it can be started later although its file was deleted or another one, which may
// not fit the agents that run, put in its place (a rebuild).
class WorkerProgram {
 public:
  // Throws MissingInputError if it is not there or may not be executed.
  explicit WorkerProgram(std::filesystem::path path);

  const std::filesystem::path& path() const noexcept { return path_; }
  int fd() const noexcept { return fd_.value(); }
  // Whether path() still leads to it.
  bool is_in_place() const;
  // Throws an Error if the file's own content has changed: what was there is gone.
  void require_unchanged() const;

 private:
  std::filesystem::path path_;
  base::UniqueFd fd_;
  struct stat status_ {};
};

struct WorkerCommand {
  const WorkerProgram* program = nullptr;
  int socket_fd = -1;
  int memory_fd = -1;
  std::vector<int> cpus;  // processors it may use; empty: all of this process's
};

// What the end of a process may take: the kernel gives its memory back, and a driver that of its GPU.
inline constexpr double kKillSeconds = 60;

// Starts a worker in a process group of its own. It dies with this process (PR_SET_PDEATHSIG), gets the descriptors
// as --agent-socket and --shared-memory, no signal mask, and standard error as its standard output. Kills and reaps it
// on destruction. Use from the thread that made it.
class WorkerProcess {
 public:
  // Throws IoError if no process can be made, and what WorkerProgram::require_unchanged() throws.
  explicit WorkerProcess(const WorkerCommand& command);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  int pid() const noexcept { return pid_; }
  // Readable once the process has ended.
  int pid_fd() const noexcept { return pid_fd_.value(); }
  // How it ended, if it has. Reaps it.
  std::optional<ProcessEnd> poll_end();
  // SIGKILL, then waits for the end. Works on a stopped process too. Nothing if it has ended already. Throws Error
  // (kGaveUp) if that takes too long: a process that hangs in a driver takes no signal.
  ProcessEnd kill(double patience_seconds = kKillSeconds);
  // Asks for its stack with SIGQUIT and waits up to a second for it to end of that.
  void request_crash_report();
  // What report_crashes() wrote in the worker: the stack where it crashed; "" if nothing.
  std::string crash_report() const;

 private:
  int pid_ = -1;
  base::UniqueFd pid_fd_;
  base::UniqueFd report_fd_;  // a memfd, the worker's kCrashReportFd
  std::optional<ProcessEnd> end_;
  bool is_beyond_reach_ = false;  // kill() has waited in vain
};

}  // namespace kangpt::launcher
