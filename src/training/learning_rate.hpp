// The learning rate as a function of the step.
#pragma once

#include <cstdint>
#include <vector>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::training {

// For step 1..total_steps: linear from 0 to learning_rate over warmup_steps, then constant; or down to
// minimum_learning_rate at total_steps: by half a cosine (Loshchilov and Hutter, "SGDR", without restarts), in a
// straight line, or in one that begins behind decay_begin() (WSD: Hu et al., "MiniCPM", 2024).
double learning_rate(const config::OptimizerSection& optimizer, std::uint64_t step, std::uint64_t total_steps);

// The last step before WSD's decay: up to it, all is the same in a longer run. 0: another schedule, or no such step.
std::uint64_t decay_begin(const config::OptimizerSection& optimizer, std::uint64_t total_steps);

// Where the learning rate has a factor: optimizer.embedding_learning_rate_factor for the token embedding,
// optimizer.layer_learning_rate_factor for parameters called "layers.*", times optimizer.kan_learning_rate_factor for
// the KAN coefficients and optimizer.offset_learning_rate_factor for the offsets of the deformable convolution among
// them. The cycle of a KAN's coefficients is that of their degrees. Dense weight matrices of the layers are ranges of
// their own where optimizer.muon_learning_rate is above 0, and have none of these factors.
std::vector<RateRange> rate_ranges(const config::OptimizerSection& optimizer, const base::ParameterTable& table);

}  // namespace kangpt::training
