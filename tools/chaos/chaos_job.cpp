#include "tools/chaos/chaos_job.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/error.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::chrono::milliseconds kPoll{5};
// Of Open MPI 4 and 5.
constexpr std::array kSegmentVariables = {"OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory"};
constexpr std::chrono::seconds kPatience{30};  // for descendants of an mpirun that ended

struct Process {
  std::string name;
  pid_t parent = 0;
  std::uint64_t start_time = 0;
};

constexpr int kFieldsFromParentToStart = 18;

// All living processes, from /proc/PID/stat: "pid (name) state ppid ... starttime ...", see proc(5).
std::map<pid_t, Process> all_processes() {
  std::map<pid_t, Process> processes;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; entry != end; entry.increment(error)) {
    const std::string folder = entry->path().filename();
    if (folder.find_first_not_of("0123456789") != std::string::npos) continue;
    std::string line;
    std::getline(std::ifstream(entry->path() / "stat"), line);
    const std::size_t open = line.find('(');
    const std::size_t close = line.rfind(')');
    if (close == std::string::npos) continue;
    char state = 'Z';
    Process process{line.substr(open + 1, close - open - 1)};
    std::istringstream fields(line.substr(close + 1));
    fields >> state >> process.parent;
    for (int i = 0; i < kFieldsFromParentToStart; ++i) fields >> process.start_time;
    if (state != 'Z') processes[std::stoi(folder)] = process;
  }
  return processes;
}

std::vector<pid_t> descendants_of(pid_t ancestor, const std::map<pid_t, Process>& processes) {
  std::vector<pid_t> found = {ancestor};
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const auto& [pid, process] : processes) {
      if (process.parent == found[i]) found.push_back(pid);
    }
  }
  found.erase(found.begin());
  return found;
}

launcher::ProcessEnd decode(int status) {
  if (WIFSIGNALED(status)) return {.signal = WTERMSIG(status)};
  return {.exit_code = WEXITSTATUS(status)};
}

}  // namespace

ChaosJob::ChaosJob(const std::vector<std::string>& command, const fs::path& log_file, launcher::StopSignals& signals)
    : signals_(signals) {
  posix_spawnattr_t attributes;  // its signals are not blocked as they are here
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int error = ::posix_spawnp(&pid_, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) throw_io_error("cannot start", command[0], error);
}

ChaosJob::~ChaosJob() {
  if (end_) return;
  signal(SIGKILL);
  for (look_for_end(); !end_; look_for_end()) std::this_thread::sleep_for(kPoll);
  await_descendants();
}

void ChaosJob::look_for_end() {
  int status = 0;
  if (!end_ && ::waitpid(pid_, &status, WNOHANG) == pid_) end_ = decode(status);
}

std::optional<launcher::ProcessEnd> ChaosJob::poll_end() {
  signals_.poll();
  if (signals_.stop_requested()) throw ChaosStopped{};
  look_for_end();
  return end_;
}

launcher::ProcessEnd ChaosJob::wait() {
  while (!poll_end()) std::this_thread::sleep_for(kPoll);
  return *end_;
}

void ChaosJob::signal(int signal) {
  look_at_descendants();
  if (!end_) ::kill(pid_, signal);
}

void ChaosJob::look_at_descendants() {
  if (end_) return;
  const auto processes = all_processes();
  for (const pid_t pid : descendants_of(pid_, processes)) descendants_[pid] = processes.at(pid).start_time;
}

std::vector<pid_t> ChaosJob::processes(const std::string& name) {
  look_at_descendants();
  const auto processes = all_processes();
  std::vector<pid_t> found;
  for (const auto& [pid, start_time] : descendants_) {
    const auto process = processes.find(pid);
    if (process == processes.end() || process->second.start_time != start_time) continue;
    if (process->second.name == name) found.push_back(pid);
  }
  return found;
}

bool ChaosJob::await_descendants() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    std::vector<pid_t> left;
    for (const char* name : {"kangpt_dist", "kangpt_worker"})
      std::ranges::copy(processes(name), std::back_inserter(left));
    if (left.empty()) return true;
    if (std::chrono::steady_clock::now() > deadline) {
      for (const pid_t pid : left) ::kill(pid, SIGKILL);
      return false;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

SegmentFolder::SegmentFolder() {
  if (std::ranges::any_of(kSegmentVariables, ::getenv)) return;
  const fs::path folder = "/dev/shm/kangpt-chaos-" + std::to_string(::getpid());
  std::error_code error;
  if (!fs::create_directory(folder, error)) return;
  fs::permissions(folder, fs::perms::owner_all, error);
  folder_ = folder;
  for (const char* const variable : kSegmentVariables) ::setenv(variable, folder.c_str(), 1);
}

SegmentFolder::~SegmentFolder() {
  if (folder_.empty()) return;
  std::error_code error;
  fs::remove_all(folder_, error);
  for (const char* const variable : kSegmentVariables) ::unsetenv(variable);
}

RunEvents read_events(const fs::path& run_directory) {
  RunEvents events;
  std::ifstream lines(run_directory / "events.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line, nullptr, false);
    if (!event.is_object()) continue;
    const std::string name = event.value("event", "");
    if (name == "recovered") {
      ++events.recovered;
      events.recovery_seconds.push_back(event.value("seconds", 0.0));
    }
    if (name == "start") {
      events.steps_lost_by_start.push_back(event.value("steps_lost", std::uint64_t{0}));
      events.last_start_time = event.value("time", 0.0);
    }
    if (name == "restart") events.steps_lost.push_back(event.value("steps_lost", std::uint64_t{0}));
  }
  return events;
}

double last_step_time(const fs::path& run_directory) {
  constexpr std::streamoff kEnd = 4096;  // more than a line
  std::ifstream lines(run_directory / "metrics.jsonl");
  lines.seekg(0, std::ios::end);
  lines.seekg(std::max<std::streamoff>(lines.tellg() - kEnd, 0));
  double time = 0;
  for (std::string line; std::getline(lines, line);) {
    const json step = json::parse(line, nullptr, false);  // the first and the last may lack something
    if (step.is_object() && step.contains("loss")) time = step.value("time", 0.0);
  }
  return time;
}

}  // namespace kangpt::tools
