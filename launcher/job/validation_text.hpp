// How much text the tokens stand for that a validation predicts.
#pragma once

#include <vector>

#include "config/run_config.hpp"
#include "data_pipeline/batches/data_sources.hpp"

namespace kangpt::launcher {

// Bytes of text a predicted token of the batches that log.validation_batches asks for, counted with their vocabulary
// as kangpt_eval does; where the data were made with another one, or it is not here, the mean of the split. Throws as
// data::open_batches() does.
double validation_bytes_per_token(const config::RunConfig& config, const std::vector<data::OpenedSource>& sources);

}  // namespace kangpt::launcher
