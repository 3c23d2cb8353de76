// The learning rate as a function of the step.
#pragma once

#include <cstdint>

#include "config/run_config.hpp"

namespace kangpt::training {

// For step 1..total_steps: linear from 0 to learning_rate over warmup_steps, then constant, or a half cosine down to
// minimum_learning_rate at total_steps (Loshchilov and Hutter, "SGDR", without restarts).
double learning_rate(const config::OptimizerSection& optimizer, std::uint64_t step, std::uint64_t total_steps);

}  // namespace kangpt::training
