// Names, shapes and places of all parameters of a model. Free of LibTorch: agents and tools use it too.
#pragma once

#include <string>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"

namespace kangpt::model {

// Order: token_embedding, position_embedding, layers.0..., final_norm, head. Every offset is a multiple of 16 elements.
// REQUIRES: config::problems() found nothing in `model`.
base::ParameterTable parameter_layout(const config::ModelConfig& model);

// Whether `layer` (from 0) has a KAN as its feed-forward part, or else an MLP.
bool is_kan_layer(const config::ModelConfig& model, int layer);

// Positions from tap to tap of the mixer of `layer`: 1 where the mixer has no dilation or the model names none.
int layer_dilation(const config::ModelConfig& model, int layer);

// What makes two models of one layout compute differently, "model.heads is 8, not 4"; empty where nothing does.
std::string hidden_difference(const config::ModelConfig& is, const config::ModelConfig& is_not);

}  // namespace kangpt::model
