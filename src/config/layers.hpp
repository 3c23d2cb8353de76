// What each layer of a network is made of, where the configuration names it by turns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "config/run_config.hpp"

namespace kangpt::config {

inline Mixer layer_mixer(const ModelConfig& model, int layer) {
  return model.mixers.empty() ? Mixer::kAttention : model.mixers[static_cast<std::size_t>(layer) % model.mixers.size()];
}

inline bool has_mixer(const ModelConfig& model, Mixer mixer) {
  for (int layer = 0; layer < model.layers; ++layer) {
    if (layer_mixer(model, layer) == mixer) return true;
  }
  return false;
}

// KAN, MLP or what else it is, never HYBRID.
inline FeedForward layer_feed_forward(const ModelConfig& model, int layer) {
  if (model.feed_forward != FeedForward::kHybrid) return model.feed_forward;
  return layer % 2 == 0 ? FeedForward::kMlp : FeedForward::kKan;
}

// Positions from tap to tap of the mixer of `layer`: 1 where the mixer has no dilation or the model names none.
inline int layer_dilation(const ModelConfig& model, int layer) {
  const Mixer mixer = layer_mixer(model, layer);
  const bool is_dilated = mixer == Mixer::kDilatedConv || mixer == Mixer::kDeformableConv;
  if (!is_dilated || model.dilation.empty()) return 1;
  return model.dilation[static_cast<std::size_t>(layer) % model.dilation.size()];
}

// Groups of channels with a learnt function each, where model.kan_groups says so or leaves it open.
inline int function_groups(const ModelConfig& model) {
  if (model.kan_groups > 0) return model.kan_groups;
  const int both = std::gcd(model.d_model, model.mlp_hidden);
  int groups = std::min(8, std::max(both, 1));
  while (both % groups != 0) --groups;
  return groups;
}

}  // namespace kangpt::config
