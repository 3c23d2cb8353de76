// How many steps a run has.
#pragma once

#include <cmath>
#include <cstdint>

#include "config/run_config.hpp"

namespace kangpt::launcher {

// train.steps, or train.epochs passes over the data where steps is 0.
inline std::uint64_t run_length_steps(const config::TrainSection& train, std::uint64_t batches_per_epoch) {
  if (train.steps != 0) return train.steps;
  return static_cast<std::uint64_t>(std::ceil(train.epochs * static_cast<double>(batches_per_epoch)));
}

}  // namespace kangpt::launcher
