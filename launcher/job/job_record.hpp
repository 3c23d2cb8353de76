// How a job begins and ends, as rank 0 writes it into the run directory and says it.
#pragma once

#include <optional>

#include "base/error.hpp"
#include "launcher/job/job_setup.hpp"
#include "launcher/record/run_log.hpp"

namespace kangpt::launcher {

// Sets an earlier run's record aside where this one begins from nothing, writes config.textproto, opens the log and
// notes the start. Throws IoError.
void begin_record(const JobSetup& setup, const World& world, std::optional<RunLog>& log);

// The end of all workers with `code`: notes it, and writes summary.json where training is done. Throws IoError,
// CheckpointError.
void end_record(const JobSetup& setup, ExitCode code, RunLog& log);

// For a job whose checkpoint has all the steps: what the run left is not touched, but for a summary.json that a killed
// job did not come to write. Throws as end_record() does.
void leave_record(const JobSetup& setup);

}  // namespace kangpt::launcher
