#include "launcher/config_help.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "base/terminal.hpp"
#include "config/help_text.hpp"

namespace kangpt::launcher {

void print_config_help(const std::string& name) {
  const auto destination = ::isatty(STDOUT_FILENO) != 0 ? base::Destination::kTerminal : base::Destination::kElsewhere;
  config::HelpStyle style{.colours = base::terminal_use(destination).colours};
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) style.columns = window.ws_col;
  std::fputs(config::help_text(name, style).c_str(), stdout);
}

}  // namespace kangpt::launcher
