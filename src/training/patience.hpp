// When a run has learnt long enough without getting better.
#pragma once

#include <cstdint>

#include "io/training_state.hpp"

namespace kangpt::training {

// True where train.patience, in validations (0: without end), ends a run at this state.
inline bool is_out_of_patience(const io::TrainingState& state, std::uint64_t patience) {
  return patience != 0 && state.validations_since_best >= patience;
}

}  // namespace kangpt::training
