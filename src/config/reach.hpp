// How far back the convolutional mixers look.
#pragma once

#include <algorithm>

#include "config/layers.hpp"
#include "config/run_config.hpp"

namespace kangpt::config {

// Of the mixers `mixer` of any layer; 1 where there is none.
inline int largest_dilation(const ModelConfig& model, Mixer mixer) {
  int largest = 1;
  for (int layer = 0; layer < model.layers; ++layer) {
    if (layer_mixer(model, layer) == mixer) largest = std::max(largest, layer_dilation(model, layer));
  }
  return largest;
}

// Positions from the present token to the farthest tap of a mixer `mixer`.
inline double longest_tap(const ModelConfig& model, Mixer mixer) {
  return double{1} * largest_dilation(model, mixer) * (model.kernel_size - 1);
}

}  // namespace kangpt::config
