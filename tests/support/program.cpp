#include "tests/support/program.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace kangpt::test {
namespace {

namespace fs = std::filesystem;

constexpr double kPollSeconds = 0.005;
constexpr double kGraceSeconds = 2;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void pause_briefly() {
  std::this_thread::sleep_for(std::chrono::duration<double>(kPollSeconds));
}

// Memory files instead of pipes: no dead-lock, and a grandchild that keeps one open holds nobody up.
int memory_file(const std::string& content) {
  const int fd = ::memfd_create("kangpt-test", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
    throw std::runtime_error("cannot create a memory file");
  }
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

std::string content_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw std::runtime_error("cannot read captured output");
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& additions) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!additions.contains(text.substr(0, text.find('=')))) entries.push_back(text);
  }
  for (const auto& [name, value] : additions) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// posix_spawn's two attribute objects: a session of its own, default signals, the three standard streams.
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t signals;
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes_, &signals);
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes_, &signals);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  void redirect(int from, int to) { ::posix_spawn_file_actions_adddup2(&actions_, from, to); }
  void start_in(const fs::path& folder) { ::posix_spawn_file_actions_addchdir_np(&actions_, folder.c_str()); }

  pid_t spawn(std::vector<std::string> argv, std::vector<std::string> environment) const {
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, argv.at(0).c_str(), &actions_, &attributes_, pointers(argv).data(),
                                     pointers(environment).data());
    if (error != 0) throw std::runtime_error("cannot start " + argv[0] + ": " + std::strerror(error));
    return pid;
  }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

// The living members of a session (zombies do not count), from /proc/PID/stat: "pid (name) state ppid pgrp session".
std::vector<pid_t> session_members(pid_t session) {
  std::vector<pid_t> members;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::string line;
    std::getline(std::ifstream(entry.path() / "stat"), line);
    const std::size_t end_of_name = line.rfind(')');
    if (end_of_name == std::string::npos) continue;
    char state = 'Z';
    pid_t parent = 0, group = 0, its_session = 0;
    std::istringstream(line.substr(end_of_name + 1)) >> state >> parent >> group >> its_session;
    if (its_session == session && state != 'Z' && state != 'X') members.push_back(std::stoi(name));
  }
  return members;
}

}  // namespace

BackgroundProgram::BackgroundProgram(const std::vector<std::string>& argv, const ProgramOptions& options)
    : stdout_fd_(memory_file("")), stderr_fd_(memory_file("")), deadline_(now_seconds() + options.timeout_seconds) {
  SpawnSettings settings;
  const int stdin_fd = memory_file(options.stdin_text);
  settings.redirect(stdin_fd, STDIN_FILENO);
  settings.redirect(stdout_fd_, STDOUT_FILENO);
  settings.redirect(stderr_fd_, STDERR_FILENO);
  if (!options.working_directory.empty()) settings.start_in(options.working_directory);
  pid_ = settings.spawn(argv, merged_environment(options.environment));
  ::close(stdin_fd);
}

BackgroundProgram::~BackgroundProgram() {
  kill_session();
  if (!reaped_) ::waitpid(pid_, &status_, 0);
  ::close(stdout_fd_);
  ::close(stderr_fd_);
}

bool BackgroundProgram::running() {
  if (!reaped_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
  return !reaped_;
}

void BackgroundProgram::send_signal(int signal) {
  if (running()) ::kill(pid_, signal);
}

std::vector<pid_t> BackgroundProgram::processes() const {
  return session_members(pid_);
}

std::string BackgroundProgram::stdout_so_far() const {
  return content_of(stdout_fd_);
}

std::string BackgroundProgram::stderr_so_far() const {
  return content_of(stderr_fd_);
}

bool BackgroundProgram::past_deadline() const {
  return now_seconds() > deadline_;
}

bool BackgroundProgram::wait_for_output(const std::string& text) {
  while (true) {
    const bool was_running = running();
    if (stdout_so_far().find(text) != std::string::npos || stderr_so_far().find(text) != std::string::npos) return true;
    if (!was_running || past_deadline()) return false;
    pause_briefly();
  }
}

void BackgroundProgram::kill_session() const {
  for (std::vector<pid_t> members = processes(); !members.empty(); members = processes()) {
    for (const pid_t member : members) ::kill(member, SIGKILL);
    pause_briefly();
  }
}

std::vector<std::string> BackgroundProgram::await_session_end() const {
  const double end = now_seconds() + kGraceSeconds;
  std::vector<pid_t> members = processes();
  while (!members.empty() && now_seconds() < end) {
    pause_briefly();
    members = processes();
  }
  std::vector<std::string> commands;
  for (const pid_t member : members) commands.push_back(command_line(member));
  return commands;
}

ProgramResult BackgroundProgram::wait() {
  ProgramResult result;
  while (running() && !past_deadline()) pause_briefly();
  result.timed_out = running();
  if (!result.timed_out) result.left_running = await_session_end();
  kill_session();
  if (!reaped_) reaped_ = ::waitpid(pid_, &status_, 0) == pid_;
  if (WIFEXITED(status_)) result.exit_code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) result.signal = WTERMSIG(status_);
  result.stdout_text = stdout_so_far();
  result.stderr_text = stderr_so_far();
  return result;
}

ProgramResult run_program(const std::vector<std::string>& argv, const ProgramOptions& options) {
  return BackgroundProgram(argv, options).wait();
}

std::string command_line(pid_t pid) {
  std::ostringstream text;
  text << std::ifstream("/proc/" + std::to_string(pid) + "/cmdline").rdbuf();
  std::string command = text.str();
  for (char& letter : command) letter = letter == '\0' ? ' ' : letter;
  return command;
}

std::string program_path(const std::string& name) {
  const char* const folder = std::getenv("KANGPT_BIN");
  if (folder == nullptr || *folder == '\0') throw std::runtime_error("KANGPT_BIN is not set: run this through ctest");
  return (fs::path(folder) / name).string();
}

}  // namespace kangpt::test
