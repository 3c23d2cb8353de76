// The exceptions of this project and the exit codes they stand for.
#pragma once

#include <stdexcept>
#include <string>

namespace kangpt {

// What a program returns; the same from every agent, and so from mpirun. See README.md, "Exit codes".
enum class ExitCode : int {
  kDone = 0,
  kUsage = 64,          // unknown flag, missing argument
  kData = 65,           // corrupt or inconsistent data or checkpoint
  kInputMissing = 66,   // a file or folder that has to be made first
  kInternal = 70,       // a defect in this program, or a worker that failed and could not be replaced
  kIo = 74,             // disk full, permission denied, read error
  kStopped = 75,        // stopped by a signal after a checkpoint: start again to go on
  kGaveUp = 76,         // repeated crashes, or the trouble of one machine; a new start may help
  kConfiguration = 78,  // the configuration can't work
  kNoProgress = 93,     // no new step across restarts: do not start again
};

// Base of all errors that this project throws. what() is one or several full lines for the user: what, where, what
// would be valid, how to go on.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), exit_code_(code) {}
  ExitCode exit_code() const noexcept { return exit_code_; }

 private:
  ExitCode exit_code_;
};

struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(ExitCode::kUsage, message) {}
};
struct ConfigError : Error {
  explicit ConfigError(const std::string& message) : Error(ExitCode::kConfiguration, message) {}
};
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(ExitCode::kData, message) {}
};
struct CheckpointError : Error {
  explicit CheckpointError(const std::string& message) : Error(ExitCode::kData, message) {}
};
struct MissingInputError : Error {
  explicit MissingInputError(const std::string& message) : Error(ExitCode::kInputMissing, message) {}
};
struct IoError : Error {
  explicit IoError(const std::string& message) : Error(ExitCode::kIo, message) {}
};
struct CommunicationError : Error {
  explicit CommunicationError(const std::string& message) : Error(ExitCode::kInternal, message) {}
};
struct InternalError : Error {
  explicit InternalError(const std::string& message) : Error(ExitCode::kInternal, message) {}
};

// Throws IoError "ACTION PATH: strerror(errno_value)", with advice where the cause is a full disk or a permission.
[[noreturn]] void throw_io_error(const std::string& action, const std::string& path, int errno_value);

// Runs `body` and turns what it throws into a message on standard error ("PROGRAM: error: ...") and an exit code.
// Error -> its own code; any other exception -> kInternal; printed, but not written -> kIo. Never throws.
int run_program(const std::string& program, int (*body)(int, char**), int argc, char** argv) noexcept;

}  // namespace kangpt
