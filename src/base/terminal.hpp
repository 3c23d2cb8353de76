// The terminal that messages on standard error end up on, also through Open MPI's mpirun.
#pragma once

#include "base/unique_fd.hpp"

namespace kangpt::base {

// What a line of text may be made of.
struct LineStyle {
  int columns = 80;
  bool colours = false;  // escape codes for them
  bool utf8 = false;     // characters beyond ASCII
};

enum class Destination { kTerminal, kElsewhere };

// What the environment and the destination of messages allow. NO_COLOR: no colours. FORCE_COLOR, CLICOLOR_FORCE (not
// "0"): colours everywhere. FORCE_COLOR=0, CLICOLOR=0: as NO_COLOR. TERM=dumb, CI: neither colours nor lines that are
// drawn again.
struct TerminalUse {
  bool colours = false;
  bool redraws = false;  // a line may be drawn again in its place
};
TerminalUse terminal_use(Destination destination);

// True where LC_ALL, LC_CTYPE or LANG, the first that is set, names UTF-8.
bool is_utf8_locale();

// Where this process's standard error leads. A rank's is a pipe to mpirun, which passes on what it reads at once, parts
// of lines too: then it is mpirun's terminal, unless mpirun tags the lines (--tag-output, --timestamp-output, --xml) or
// keeps them (--output-filename).
class Terminal {
 public:
  static Terminal of_standard_error();

  const TerminalUse& use() const noexcept { return use_; }
  // True where the processes of other ranks write to it as well.
  bool is_shared() const noexcept { return is_shared_; }
  // For a line that is drawn now: a window's width changes.
  LineStyle line_style() const;
  // False where what was written has not been taken yet: mpirun or the terminal is slow, or stopped.
  bool keeps_up() const;

 private:
  UniqueFd fd_;  // none: no terminal
  bool is_shared_ = false;
  TerminalUse use_;
};

}  // namespace kangpt::base
