// kangpt_dist: its arguments.
#pragma once

namespace kangpt::launcher {

// Its exit code. Throws Error.
int dist_program(int argc, char** argv);

}  // namespace kangpt::launcher
