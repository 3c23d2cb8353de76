#include "tools/checkpoint/offset_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "config/layers.hpp"

namespace kangpt::tools {
namespace {

struct Moments {
  double mean = 0;
  double variance = 0;
};

// What decides the offsets of one layer.
class OffsetWeights {
 public:
  OffsetWeights(const io::Checkpoint& checkpoint, int layer)
      : checkpoint_(checkpoint), prefix_("layers." + std::to_string(layer) + ".") {
    const std::vector<float> norm_weight = read("mixer_norm.weight");
    const std::vector<float> norm_bias = read("mixer_norm.bias");
    const std::vector<float> weight = read("deformable.offset_depthwise.weight");
    const std::vector<float> bias = read("deformable.offset_depthwise.bias");
    const std::size_t taps = weight.size() / bias.size();
    for (std::size_t channel = 0; channel < bias.size(); ++channel) {
      Moments filtered = {bias[channel], 0};
      for (std::size_t tap = 0; tap < taps; ++tap) {
        const double factor = weight[channel * taps + tap];
        filtered.mean += factor * norm_bias[channel];
        filtered.variance += factor * factor * norm_weight[channel] * norm_weight[channel];
      }
      filtered_.push_back(filtered);
    }
    pointwise_weight_ = read("deformable.offset_pointwise.weight");
    pointwise_bias_ = read("deformable.offset_pointwise.bias");
  }

  // Offsets and modulations together.
  std::size_t outputs() const { return pointwise_bias_.size(); }
  // Of o, the offset before tanh.
  Moments output(std::size_t index) const {
    Moments result = {pointwise_bias_[index], 0};
    for (std::size_t channel = 0; channel < filtered_.size(); ++channel) {
      const double factor = pointwise_weight_[index * filtered_.size() + channel];
      result.mean += factor * filtered_[channel].mean;
      result.variance += factor * factor * filtered_[channel].variance;
    }
    return result;
  }

 private:
  std::vector<float> read(const std::string& name) const {
    for (const base::ParameterEntry& entry : checkpoint_.manifest().parameters.entries) {
      if (entry.name != prefix_ + name) continue;
      std::vector<float> values(entry.size);
      checkpoint_.read(entry.offset, values, {}, {});
      return values;
    }
    throw CheckpointError(checkpoint_.folder().string() + " has no parameter " + prefix_ + name);
  }

  const io::Checkpoint& checkpoint_;
  std::string prefix_;
  std::vector<Moments> filtered_;
  std::vector<float> pointwise_weight_;
  std::vector<float> pointwise_bias_;
};

// Positions back of a tap that lies `regular` back at first, for normally distributed o: a sum over its density.
Moments positions_back(double regular, double max_offset, const Moments& o) {
  constexpr int kSteps = 32;    // to each side
  constexpr double kReach = 4;  // deviations
  double total = 0;
  double sum = 0;
  double squares = 0;
  for (int step = -kSteps; step <= kSteps; ++step) {
    const double deviations = kReach * step / kSteps;
    const double density = std::exp(-0.5 * deviations * deviations);
    const double squashed = std::tanh(o.mean + deviations * std::sqrt(o.variance));
    const double back = std::clamp(regular + max_offset * squashed, 0.0, max_offset);
    total += density;
    sum += density * back;
    squares += density * back * back;
  }
  const double mean = sum / total;
  return {mean, std::max(squares / total - mean * mean, 0.0)};
}

std::string layer_line(const OffsetWeights& weights, const config::ModelConfig& model, int layer) {
  const std::size_t count = weights.outputs() / 2;
  const int dilation = config::layer_dilation(model, layer);
  double sum = 0;
  double squares = 0;
  double variance = 0;
  double farthest = 0;
  for (std::size_t index = 0; index < count; ++index) {
    const double regular = static_cast<double>(index % static_cast<std::size_t>(model.kernel_size)) * dilation;
    const Moments back = positions_back(regular, model.max_offset, weights.output(index));
    sum += back.mean - regular;
    squares += (back.mean - regular) * (back.mean - regular);
    variance += back.variance;
    farthest = std::max(farthest, back.mean);
  }
  const auto taps = static_cast<double>(count);
  const double mean = sum / taps;
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%5d %9d %12.4f %12.4f %12.4f %12.4f\n", layer, dilation, mean,
                std::sqrt(std::max(squares / taps - mean * mean, 0.0)), std::sqrt(variance / taps), farthest);
  return line.data();
}

}  // namespace

std::string offsets_text(const io::Checkpoint& checkpoint) {
  const std::string origin = "configuration in " + checkpoint.folder().string();
  const config::ModelConfig model =
      config::parse_configuration(checkpoint.manifest().configuration, origin).values.model;
  if (!config::has_mixer(model, config::Mixer::kDeformableConv)) {
    throw UsageError(checkpoint.folder().string() + " has no offsets: only the mixer DEFORMABLE_CONV learns any");
  }
  std::string text =
      "Learnt offsets: positions back beyond the regular tap * dilation, over all taps and channel groups.\n"
      "From the weights alone, for inputs that are independent of each other, as mixer_norm scales them.\n"
      "layer  dilation         mean  among taps  over inputs farthest tap\n";
  for (int layer = 0; layer < model.layers; ++layer) {
    if (config::layer_mixer(model, layer) != config::Mixer::kDeformableConv) continue;
    text += layer_line(OffsetWeights(checkpoint, layer), model, layer);
  }
  return text;
}

}  // namespace kangpt::tools
