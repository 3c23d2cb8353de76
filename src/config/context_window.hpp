// How many tokens a trained network sees at once.
#pragma once

#include "config/run_config.hpp"

namespace kangpt::config {

// Inputs of a row in training. In STORY mode the last of a row's tokens is predicted only: a network trained so has
// learnt nothing about that position, and must not be shown a token there.
inline int context_window_tokens(DataMode mode, int sequence_length) {
  return mode == DataMode::kStory ? sequence_length - 1 : sequence_length;
}

inline int context_window_tokens(const DataSection& data) {
  return context_window_tokens(data.mode, data.sequence_length);
}

}  // namespace kangpt::config
