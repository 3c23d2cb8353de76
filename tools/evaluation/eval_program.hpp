// kangpt_eval as a function.
#pragma once

namespace kangpt::tools {

// Returns the exit code; throws Error.
int eval_program(int argc, char** argv);

}  // namespace kangpt::tools
