// kangpt_generate as a function.
#pragma once

namespace kangpt::tools {

// Returns the exit code; throws Error.
int generate_program(int argc, char** argv);

}  // namespace kangpt::tools
