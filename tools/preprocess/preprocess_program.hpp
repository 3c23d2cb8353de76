// The program kangpt_preprocess: text to HDF5 shards of tokens, and a look at them.
#pragma once

namespace kangpt::tools {

// Returns the exit code or throws an Error.
int preprocess_program(int argc, char** argv);

}  // namespace kangpt::tools
