#include "base/processor/spinning.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace kangpt::base {
namespace {

// Long enough for the gaps between the parallel loops of a step.
constexpr const char* kSpins = "1000";

}  // namespace

bool limit_spinning() {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return false;
  return ::setenv("GOMP_SPINCOUNT", kSpins, 0) == 0;
}

// By its path, since the kernel names a process after it.
void limit_own_spinning(char** argv) {
  if (!limit_spinning()) return;
  std::error_code unreadable;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unreadable);
  if (!unreadable) ::execv(program.c_str(), argv);  // returns where it can't: going on as it is
}

}  // namespace kangpt::base
