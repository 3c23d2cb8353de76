// Reading a program's arguments with this project's exit codes.
#pragma once

#include <CLI/CLI.hpp>

namespace kangpt::launcher {

// Reads them; a leading "~" of a path is the user's home. False where --help, --version or --print-completion SHELL was
// asked for and printed: the program is done. Throws UsageError that names the argument and, for a misspelt flag, the
// one that was probably meant.
bool parse_arguments(CLI::App& app, int argc, const char* const* argv);

}  // namespace kangpt::launcher
