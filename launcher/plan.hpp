// What a run will need, before it runs: kangpt_dist --plan.
#pragma once

#include <string>

#include "launcher/job_setup.hpp"

namespace kangpt::launcher {

// Parameters, memory, wire, steps, checkpoints and warnings as text for a terminal.
std::string describe_plan(const JobSetup& setup, const World& world);

}  // namespace kangpt::launcher
