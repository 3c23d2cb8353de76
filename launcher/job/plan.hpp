// What a run will need, before it runs: kangpt_dist --plan.
#pragma once

#include <string>

#include "launcher/job/job_setup.hpp"

namespace kangpt::launcher {

// Parameters, memory, wire, steps, checkpoints and warnings as text for a terminal.
std::string describe_plan(const JobSetup& setup, const World& world);

// Why this machine can't hold its ranks' parameters, gradients and snapshots; empty where it can.
std::string memory_problem(const JobSetup& setup, const World& world);
// Throws ConfigError with that problem.
void require_memory(const JobSetup& setup, const World& world);

// "2 ranks x 1 thread(s) use all 2 processor(s): mpirun -np 2": the fastest way to place the run on these
// processors, as many ranks as the batch can be shared by, since ranks scale better than threads
// (tests/benchmark/layouts.py).
std::string recommended_layout(const JobSetup& setup, const World& world);

}  // namespace kangpt::launcher
