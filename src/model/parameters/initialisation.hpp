// First values of all parameters, drawn from a seed.
#pragma once

#include <cstdint>
#include <span>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"

namespace kangpt::model {

// Fills `flat` (table.flat_size elements; gaps become zero) by the rules of flax: dense weights from a normal
// distribution cut at two deviations, with deviation 1 / sqrt(fan_in) after the cut; embeddings from a normal with
// deviation 1 / sqrt(d_model); Chebyshev coefficients with 1 / (d_model * (degree + 1)); norm weights 1; biases 0;
// deformable offsets 0;
// learnt functions of groups of channels: the input's x or, where it is bounded, tanh(x), the hidden features' Swish or
// tanh(x) sigmoid(2 x). Each element depends on the seed, the parameter's name and its own index alone.
void initialise(const config::ModelConfig& model, const base::ParameterTable& table, std::uint64_t seed,
                std::span<float> flat);

}  // namespace kangpt::model
