// The page that goes with exported weights.
#pragma once

#include <string>

#include "config/run_config.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::tools {

// Markdown, as Hugging Face shows it: the network, how it was trained, and what its run measured up to this checkpoint,
// by the metrics.jsonl of the run directory that the checkpoint lies in. Throws IoError.
std::string model_card(const io::Checkpoint& checkpoint, const config::RunConfig& config);

}  // namespace kangpt::tools
