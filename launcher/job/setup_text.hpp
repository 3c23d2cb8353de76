// The settled job on its way from rank 0 to the others.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/job/job_setup.hpp"

namespace kangpt::launcher {

// Notes stay with rank 0, which says them. The data, whose manifests are no part of the text, are opened on the other
// side, as a worker there will: throws as data::open_sources() does.
std::string to_text(const JobSetup& setup);
JobSetup setup_from_text(const std::string& text);

// The same for another start point of a run in `run_directory`.
std::string to_text(const StartPoint& start);
StartPoint start_from_text(const std::string& text, const std::filesystem::path& run_directory);

}  // namespace kangpt::launcher
