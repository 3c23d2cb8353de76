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
    if (info.ssi_signo == static_cast<unsigned>(SIGINT)) ++interrupts_;
  }
}

}  // namespace kangpt::launcher
