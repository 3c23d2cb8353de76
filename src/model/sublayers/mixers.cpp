#include "model/sublayers/mixers.hpp"

#include <string>

#include "base/error.hpp"
#include "config/layers.hpp"
#include "model/sublayers/attention.hpp"
#include "model/sublayers/causal_convolution.hpp"
#include "model/sublayers/convolutional_modulation.hpp"
#include "model/sublayers/deformable_convolution.hpp"
#include "model/sublayers/separable_convolution.hpp"

namespace kangpt::model {

MixerFactory::MixerFactory(const config::ModelConfig& config, const ParameterViews& views, SublayerTools tools,
                           Convolutions& convolutions)
    : config_(config), views_(views), tools_(tools), convolutions_(convolutions) {}

std::unique_ptr<Sublayer> MixerFactory::make(int layer) const {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  switch (config::layer_mixer(config_, layer)) {
    case config::Mixer::kAttention:
      return make_attention(prefix);
    case config::Mixer::kConvMod:
      return make_modulation(prefix);
    case config::Mixer::kConv:
    case config::Mixer::kDilatedConv:
      return std::make_unique<CausalConvolution>(views_.layer(prefix + "conv"), config::layer_dilation(config_, layer),
                                                 tools_);
    case config::Mixer::kSeparableConv:
      return make_separable(prefix);
    case config::Mixer::kDeformableConv:
      return make_deformable(prefix, layer);
  }
  throw InternalError("model.mixer has no such value");
}

std::unique_ptr<Sublayer> MixerFactory::make_attention(const std::string& prefix) const {
  const Attention::Parameters parameters = {
      views_.layer(prefix + "attention.query"), views_.layer(prefix + "attention.key"),
      views_.layer(prefix + "attention.value"), views_.layer(prefix + "attention.output")};
  return std::make_unique<Attention>(parameters, HeadShape{config_.heads, config_.head_dim}, tools_);
}

std::unique_ptr<Sublayer> MixerFactory::make_modulation(const std::string& prefix) const {
  const ConvolutionalModulation::Parameters parameters = {
      views_.layer(prefix + "convmod.gate"), views_.layer(prefix + "convmod.value"),
      views_.layer(prefix + "convmod.depthwise"), views_.layer(prefix + "convmod.output")};
  return std::make_unique<ConvolutionalModulation>(parameters, tools_, convolutions_);
}

std::unique_ptr<Sublayer> MixerFactory::make_separable(const std::string& prefix) const {
  const SeparableConvolution::Parameters parameters = {views_.layer(prefix + "separable.depthwise"),
                                                       views_.layer(prefix + "separable.pointwise")};
  return std::make_unique<SeparableConvolution>(parameters, tools_, convolutions_);
}

std::unique_ptr<Sublayer> MixerFactory::make_deformable(const std::string& prefix, int layer) const {
  const DeformableConvolution::Parameters parameters = {
      views_.layer(prefix + "deformable.depthwise"), views_.layer(prefix + "deformable.offset_depthwise"),
      views_.layer(prefix + "deformable.offset_pointwise"), views_.layer(prefix + "deformable.pointwise")};
  const DeformableTaps taps = {{}, config::layer_dilation(config_, layer), config_.offset_groups, config_.max_offset};
  return std::make_unique<DeformableConvolution>(parameters, taps, tools_, convolutions_);
}

}  // namespace kangpt::model
