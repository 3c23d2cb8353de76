// The lines that rank 0 says at the start and at the end of a run: what it is, and what came of it.
#pragma once

#include <string>

#include "launcher/job/job_setup.hpp"

namespace kangpt::launcher {

// Lines of "  label    text", each begun with an end of line: they go on a message.

// Model, data, batch, steps, time and where results go; reads what earlier starts left in the run directory.
std::string start_block(const JobSetup& setup);

// Losses and their course, speed, restarts and what they cost. Throws IoError.
std::string results_block(const JobSetup& setup);

// What can be done with a finished run, as commands.
std::string next_commands(const JobSetup& setup);

}  // namespace kangpt::launcher
