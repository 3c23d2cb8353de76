// How far back a mixer of convolutions looks.
#pragma once

#include <algorithm>

#include "config/run_config.hpp"

namespace kangpt::config {

inline bool is_dilated(const ModelConfig& model) {
  return model.mixer == Mixer::kDilatedConv || model.mixer == Mixer::kDeformableConv;
}

inline int largest_dilation(const ModelConfig& model) {
  return model.dilation.empty() ? 1 : *std::max_element(model.dilation.begin(), model.dilation.end());
}

// Positions from the present token to the farthest tap of any layer.
inline double longest_tap(const ModelConfig& model) {
  return (is_dilated(model) ? double{1} * largest_dilation(model) : 1) * (model.kernel_size - 1);
}

}  // namespace kangpt::config
