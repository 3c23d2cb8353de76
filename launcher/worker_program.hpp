// The process that computes, from the command line to the exit code.
#pragma once

#include "launcher/worker/training_job.hpp"

namespace kangpt::launcher {

// `take_gpu`: see TakeGpu. The agent knows all that the exit code does not say.
int worker_program(int argc, char** argv, const TakeGpu& take_gpu);

}  // namespace kangpt::launcher
