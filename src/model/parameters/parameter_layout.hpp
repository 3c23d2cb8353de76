// Names, shapes and places of all parameters of a model. Free of LibTorch: agents and tools use it too.
#pragma once

#include <string>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"

namespace kangpt::model {

// Order: token_embedding, position_embedding, layers.0..., final_norm, head. Every offset is a multiple of 16 elements.
// REQUIRES: config::problems() found nothing in `model`.
base::ParameterTable parameter_layout(const config::ModelConfig& model);

// What makes two models of one layout compute differently, "model.heads is 8, not 4"; empty where nothing does.
std::string hidden_difference(const config::ModelConfig& is, const config::ModelConfig& is_not);

}  // namespace kangpt::model
