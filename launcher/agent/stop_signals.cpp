#include "launcher/agent/stop_signals.hpp"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"

namespace kangpt::launcher {

StopSignals::StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) sigaddset(&set, signal);
  struct sigaction hangup {};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_.reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_) throw_io_error("cannot create", "a signal descriptor", errno);
}

void StopSignals::poll() {
  signalfd_siginfo info{};
  while (::read(fd_.value(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    stop_requested_ = true;
    const bool can_wait =
        info.ssi_signo == static_cast<unsigned>(SIGUSR1) || info.ssi_signo == static_cast<unsigned>(SIGUSR2);
    if (!can_wait && !in_haste_since_) in_haste_since_ = std::chrono::steady_clock::now();
    if (info.ssi_signo == static_cast<unsigned>(SIGINT)) ++interrupts_;
  }
}

bool StopSignals::in_haste_for(std::chrono::milliseconds time) const noexcept {
  return in_haste_since_ && std::chrono::steady_clock::now() - *in_haste_since_ >= time;
}

}  // namespace kangpt::launcher
