// --help-config.
#pragma once

#include <string>

namespace kangpt::launcher {

// Prints what the schema says of a section, a field or ("") all of them, as wide as the terminal. Throws UsageError.
void print_config_help(const std::string& name);

}  // namespace kangpt::launcher
