#include "launcher/agent/crash_report.hpp"

#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>

namespace kangpt::launcher {
namespace {

constexpr std::size_t kAlternateStackBytes = std::size_t{64} << 10;

// SA_RESETHAND has restored the default action, which the signal meets when it is raised again.
extern "C" void write_stack(int signal) {
  std::array<void*, 64> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  ::backtrace_symbols_fd(frames.data(), count, kCrashReportFd);
  ::raise(signal);
}

// A stack of its own for the handler, which lives as long as the process.
void use_alternate_stack() {
  void* const memory =
      ::mmap(nullptr, kAlternateStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = kAlternateStackBytes;
  ::sigaltstack(&stack, nullptr);
}

}  // namespace

void report_crashes() {
  std::array<void*, 1> frame{};
  ::backtrace(frame.data(), 1);  // loads what it needs now: a handler may not
  use_alternate_stack();
  struct sigaction action {};
  action.sa_handler = write_stack;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_ONSTACK | SA_NODEFER);
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT}) ::sigaction(signal, &action, nullptr);
}

}  // namespace kangpt::launcher
