// The settings of a configuration by name.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/run_config.hpp"

namespace kangpt::config {

// "optimizer.learning_rate" and "0.001": every field in the order of the schema, its value as to_text() writes it; a
// list as "[1, 2]", or its one value.
std::vector<std::pair<std::string, std::string>> field_values(const RunConfig& config);

}  // namespace kangpt::config
