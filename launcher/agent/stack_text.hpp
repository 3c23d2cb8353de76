// Stacks of crashed workers as a person reads them.
#pragma once

#include <string>

namespace kangpt::launcher {

// A stack as backtrace_symbols_fd() writes it, "PROGRAM(_ZN3foo3barEv+0x1f)[0x55...]" a line, with the names of C++.
std::string readable_stack(const std::string& stack);

}  // namespace kangpt::launcher
