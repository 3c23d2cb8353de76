#include "base/error.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>

#include "base/command.hpp"

namespace kangpt {

void throw_io_error(const std::string& action, const std::string& path, int errno_value) {
  std::string message = action + " " + path + ": " + std::strerror(errno_value);
  if (errno_value == ENOSPC || errno_value == EDQUOT)
    message += " (free some space there, then run the same command again)";
  if (errno_value == EFBIG) message += " (larger than this shell or batch system allows: ulimit -f)";
  if (errno_value == EACCES || errno_value == EROFS)
    message += " (check the permissions, or choose a directory that this user may write to)";
  throw IoError(message);
}

namespace {

// A descriptor that the caller has closed would be given to the next file that is opened, which output would then go
// to. Opened the wrong way round, it stays one that can't be used.
void occupy_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0) static_cast<void>(::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

// Whether all that was printed has arrived. Some network file systems tell only when the file is closed.
bool end_standard_output(const char* name) {
  errno = 0;
  const bool is_flushed = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  const int copy = is_flushed ? ::dup(STDOUT_FILENO) : -1;
  if (is_flushed && (copy < 0 || ::close(copy) == 0)) return true;
  const std::string reason = errno != 0 ? std::strerror(errno) : "not all of it was written";
  std::fprintf(stderr, "%s: error: cannot write standard output: %s\n", name, reason.c_str());
  return false;
}

}  // namespace

int run_program(const std::string& program, int (*body)(int, char**), int argc, char** argv) noexcept {
  const char* const name = program.c_str();
  occupy_standard_descriptors();
  ::signal(SIGXFSZ, SIG_IGN);  // so that a write beyond `ulimit -f` is an error like a full disk
  try {
    const int code = body(argc, argv);
    return end_standard_output(name) || code != 0 ? code : static_cast<int>(ExitCode::kIo);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: error: %s\n", name, base::with_program_folder(error.what()).c_str());
    return static_cast<int>(error.exit_code());
  } catch (const std::filesystem::filesystem_error& error) {
    std::fprintf(stderr, "%s: error: %s\n", name, error.what());
    return static_cast<int>(ExitCode::kIo);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: error: out of memory\n", name);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: internal error: %s\n", name, error.what());
  }
  return static_cast<int>(ExitCode::kInternal);
}

}  // namespace kangpt
