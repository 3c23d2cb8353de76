// Running programs from tests: captured output, a time-out, signals, and no process left behind.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kangpt::test {

struct ProgramOptions {
  std::map<std::string, std::string> environment = {};  // on top of this process's own
  std::filesystem::path working_directory = {};         // empty: this process's own
  double timeout_seconds = 60;                          // from the start; everything that was started is killed then
  std::string stdin_text = {};
};

struct ProgramResult {
  int exit_code = -1;  // -1 where a signal ended it
  int signal = 0;      // 0 where it exited
  bool timed_out = false;
  std::string stdout_text;
  std::string stderr_text;
  std::vector<std::string> left_running;  // command lines of processes that outlived the program by 2 s (then killed)

  std::string all_output() const { return stdout_text + stderr_text; }
};

// A program that runs while the test goes on. Owns it and all that it starts: they are one session, and whoever is left
// of it is killed by wait() and by the destructor. argv[0] is looked up in PATH; no shell is involved.
class BackgroundProgram {
 public:
  // Throws std::runtime_error if the program can't be started.
  explicit BackgroundProgram(const std::vector<std::string>& argv, const ProgramOptions& options = {});
  BackgroundProgram(const BackgroundProgram&) = delete;
  BackgroundProgram& operator=(const BackgroundProgram&) = delete;
  ~BackgroundProgram();

  pid_t pid() const noexcept { return pid_; }
  bool running();
  void send_signal(int signal);          // to the program alone
  std::vector<pid_t> processes() const;  // the program and all living descendants in its session
  std::string stdout_so_far() const;
  std::string stderr_so_far() const;
  // False where `text` does not show up in standard output or error before the program ends or the time-out passes.
  bool wait_for_output(const std::string& text);
  ProgramResult wait();

 private:
  bool past_deadline() const;
  void kill_session() const;
  std::vector<std::string> await_session_end() const;

  pid_t pid_ = -1;
  int stdout_fd_ = -1;
  int stderr_fd_ = -1;
  double deadline_ = 0;  // steady clock, seconds
  bool reaped_ = false;
  int status_ = 0;
};

ProgramResult run_program(const std::vector<std::string>& argv, const ProgramOptions& options = {});

// The command line of a process, "" if it is gone.
std::string command_line(pid_t pid);

// The path of one of the project's programs, e.g. program_path("kangpt_dist") (in KANGPT_BIN, which CTest sets).
std::string program_path(const std::string& name);

}  // namespace kangpt::test
