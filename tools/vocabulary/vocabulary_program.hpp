// The program kangpt_vocabulary: makes a vocabulary from text.
#pragma once

namespace kangpt::tools {

// Returns the exit code or throws an Error.
int vocabulary_program(int argc, char** argv);

}  // namespace kangpt::tools
