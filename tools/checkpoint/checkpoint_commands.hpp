// The command line of kangpt_checkpoint.
#pragma once

namespace kangpt::tools {

// Returns the exit code: 0; 1 where `diff` found a difference; 64 for a wrong command line; 65 where `verify` found a
// bad file, 74 where it could not read one. Other errors are thrown.
int run_checkpoint_command(int argc, char** argv);

}  // namespace kangpt::tools
