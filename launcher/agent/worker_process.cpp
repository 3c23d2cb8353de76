#include "launcher/agent/worker_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "launcher/agent/crash_report.hpp"
#include "launcher/agent/stack_text.hpp"

namespace kangpt::launcher {
namespace {

constexpr int kCannotStart = 127;  // as of a shell

constexpr int kReportWaitMilliseconds = 1000;
constexpr int kKillPollMilliseconds = 20;
constexpr useconds_t kReapMicroseconds = 1000;
constexpr std::size_t kMaxReportBytes = std::size_t{64} << 10;

ProcessEnd decode(int status) {
  if (WIFSIGNALED(status)) return {.signal = WTERMSIG(status)};
  return {.exit_code = WEXITSTATUS(status)};
}

void keep_over_exec(int fd) {
  ::fcntl(fd, F_SETFD, ::fcntl(fd, F_GETFD) & ~FD_CLOEXEC);
}

cpu_set_t cpu_set_of(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &set);
  return set;
}

struct Inheritance {
  const cpu_set_t& cpus;
  bool program_in_place;
  int report_fd;
  pid_t parent;
};

// Between fork and exec: only async-signal-safe calls.
[[noreturn]] void become_worker(const WorkerCommand& command, char* const* arguments, const Inheritance& from) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != from.parent) ::_exit(0);  // the agent died before the line above
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  if (!command.cpus.empty()) ::sched_setaffinity(0, sizeof from.cpus, &from.cpus);
  ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);  // MPI's own descriptors
  ::dup2(from.report_fd, kCrashReportFd);
  keep_over_exec(command.socket_fd);
  keep_over_exec(command.memory_fd);
  // By its path where that is possible, since a process started from a descriptor has a number as its name.
  if (from.program_in_place) ::execv(arguments[0], arguments);
  ::execveat(command.program->fd(), "", arguments, environ, AT_EMPTY_PATH);
  ::_exit(kCannotStart);
}

}  // namespace

std::string ProcessEnd::describe() const {
  if (signal == 0) return "ended with exit code " + std::to_string(exit_code);
  const char* const name = ::sigabbrev_np(signal);
  return std::string("died of SIG") + (name != nullptr ? name : std::to_string(signal).c_str()) + " (" +
         ::strsignal(signal) + ")";
}

WorkerProgram::WorkerProgram(std::filesystem::path path)
    : path_(std::move(path)), fd_(::open(path_.c_str(), O_PATH | O_CLOEXEC)) {
  if (!fd_ || ::access(path_.c_str(), X_OK) != 0 || ::fstat(fd(), &status_) != 0)
    throw MissingInputError("the worker program " + path_.string() + " is missing; build it with: make build");
}

bool WorkerProgram::is_in_place() const {
  struct stat now {};
  return ::stat(path_.c_str(), &now) == 0 && now.st_dev == status_.st_dev && now.st_ino == status_.st_ino;
}

void WorkerProgram::require_unchanged() const {
  struct stat now {};
  const bool unchanged = ::fstat(fd(), &now) == 0 && now.st_size == status_.st_size &&
                         now.st_mtim.tv_sec == status_.st_mtim.tv_sec && now.st_mtim.tv_nsec == status_.st_mtim.tv_nsec;
  if (!unchanged) {
    throw Error(ExitCode::kGaveUp, "the worker program " + path_.string() +
                                       " was changed while the job runs, and may not fit it any more; the same "
                                       "command again goes on with the new one");
  }
}

WorkerProcess::WorkerProcess(const WorkerCommand& command) {
  command.program->require_unchanged();
  std::array<std::string, 5> words = {command.program->path().string(), "--agent-socket",
                                      std::to_string(command.socket_fd), "--shared-memory",
                                      std::to_string(command.memory_fd)};
  std::array<char*, 6> arguments{};
  for (std::size_t i = 0; i < words.size(); ++i) arguments[i] = words[i].data();
  const cpu_set_t cpus = cpu_set_of(command.cpus);
  report_fd_.reset(::memfd_create("crash report", MFD_CLOEXEC));
  const Inheritance inheritance{cpus, command.program->is_in_place(), report_fd_.value(), ::getpid()};
  pid_ = ::fork();
  if (pid_ < 0) throw_io_error("cannot start", command.program->path().string(), errno);
  if (pid_ == 0) become_worker(command, arguments.data(), inheritance);
  pid_fd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

WorkerProcess::~WorkerProcess() {
  if (is_beyond_reach_) return;
  try {
    kill();
  } catch (const Error& error) {
    base::log_warning(error.what());
  }
}

std::optional<ProcessEnd> WorkerProcess::poll_end() {
  int status = 0;
  if (!end_ && ::waitpid(pid_, &status, WNOHANG) == pid_) end_ = decode(status);
  return end_;
}

ProcessEnd WorkerProcess::kill(double patience_seconds) {
  if (poll_end()) return *end_;
  ::kill(pid_, SIGKILL);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_seconds);
  while (!poll_end()) {
    if (std::chrono::steady_clock::now() > deadline) {
      is_beyond_reach_ = true;
      throw Error(ExitCode::kGaveUp, "the worker process " + std::to_string(pid_) + " did not end within " +
                                         std::to_string(static_cast<int>(patience_seconds)) +
                                         " s of SIGKILL, so it hangs in the kernel, most likely in the driver of its "
                                         "GPU; this node has to be looked after (dmesg, nvidia-smi), and the same "
                                         "command on others goes on");
    }
    pollfd ended{pid_fd(), POLLIN, 0};
    if (::poll(&ended, 1, kKillPollMilliseconds) > 0 && !poll_end()) ::usleep(kReapMicroseconds);
  }
  is_beyond_reach_ = false;
  return *end_;
}

// SIGCONT, since a stopped process gets no other signal; SIGQUIT is pending then and comes first.
void WorkerProcess::request_crash_report() {
  if (poll_end()) return;
  ::kill(pid_, SIGQUIT);
  ::kill(pid_, SIGCONT);
  pollfd ended{pid_fd(), POLLIN, 0};
  ::poll(&ended, 1, kReportWaitMilliseconds);
}

std::string WorkerProcess::crash_report() const {
  std::string text(kMaxReportBytes, '\0');
  const ssize_t size = ::pread(report_fd_.value(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return readable_stack(text);
}

}  // namespace kangpt::launcher
