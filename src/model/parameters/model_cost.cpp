#include "model/parameters/model_cost.hpp"

#include "config/layers.hpp"

namespace kangpt::model {
namespace {

using config::FeedForward;
using config::Mixer;
using config::ModelConfig;

constexpr double kForwardAndBackward = 3;  // the backward pass has two products of the forward one's size
constexpr double kMultiplyAdd = 2;

// Multiply-adds of one attention layer: four projections, scores, weighted sum of the values.
double attention_products(const ModelConfig& model) {
  const double features = double{1} * model.heads * model.head_dim;
  return 4 * features * model.d_model + 2 * features * model.sequence_length;
}

// Multiply-adds of one mixer for one token.
double mixer_products(const ModelConfig& model, int layer) {
  const double channels = model.d_model;
  const double taps = model.kernel_size;
  switch (config::layer_mixer(model, layer)) {
    case Mixer::kAttention:
      return attention_products(model);
    case Mixer::kConvMod:
      return 3 * channels * channels + channels * taps;
    case Mixer::kConv:
    case Mixer::kDilatedConv:
      return channels * channels * taps;
    case Mixer::kSeparableConv:
      return channels * taps + channels * channels;
    case Mixer::kDeformableConv: {
      const double offsets = channels * taps + channels * 2 * model.offset_groups * taps;
      const double interpolated_taps = 2 * channels * taps;
      return offsets + interpolated_taps + channels * channels;
    }
  }
  return 0;
}

// Multiply-adds of one feed-forward part for one token.
double feed_forward_products(const ModelConfig& model, int layer) {
  const double channels = model.d_model;
  switch (config::layer_feed_forward(model, layer)) {
    case FeedForward::kKan:
      return channels * channels * (model.kan_degree + 1);
    case FeedForward::kSwiglu:
      return 3 * channels * model.mlp_hidden;
    default:  // functions of single numbers count as activations
      return 2 * channels * model.mlp_hidden;
  }
}

}  // namespace

TokenFlops layer_flops_per_token(const ModelConfig& model, int layer) {
  constexpr double kScale = kForwardAndBackward * kMultiplyAdd;
  return {.mixer = kScale * mixer_products(model, layer), .feed_forward = kScale * feed_forward_products(model, layer)};
}

TokenFlops flops_per_token(const ModelConfig& model) {
  TokenFlops flops;
  for (int layer = 0; layer < model.layers; ++layer) {
    const TokenFlops of_layer = layer_flops_per_token(model, layer);
    flops.mixer += of_layer.mixer;
    flops.feed_forward += of_layer.feed_forward;
  }
  flops.head = kForwardAndBackward * kMultiplyAdd * model.vocabulary_size * model.d_model;
  return flops;
}

}  // namespace kangpt::model
