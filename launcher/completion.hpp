// What a shell completes for a program: made from the program's own options, so that nothing can be out of date.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace kangpt::launcher {

enum class Shell { kBash, kZsh };

// A script for that shell: commands, options, files, the values of options that have few, and for --set the fields of
// the configuration and their values.
std::string completion_script(const CLI::App& app, const std::string& program, Shell shell);

// True for options whose value is neither a path nor one of few.
bool is_free_text(const CLI::Option& option);

}  // namespace kangpt::launcher
