#include "base/error.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>

namespace kangpt {

void throw_io_error(const std::string& action, const std::string& path, int errno_value) {
  std::string message = action + " " + path + ": " + std::strerror(errno_value);
  if (errno_value == ENOSPC || errno_value == EDQUOT)
    message += " (free some space there, then run the same command again)";
  if (errno_value == EACCES || errno_value == EROFS)
    message += " (check the permissions, or choose a directory that this user may write to)";
  throw IoError(message);
}

int run_program(const std::string& program, int (*body)(int, char**), int argc, char** argv) noexcept {
  const char* const name = program.c_str();
  try {
    return body(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: error: %s\n", name, error.what());
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
