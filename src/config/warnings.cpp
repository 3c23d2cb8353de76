#include <algorithm>
#include <iterator>

#include "config/configuration.hpp"
#include "config/layers.hpp"
#include "config/reach.hpp"

namespace kangpt::config {
namespace {

// Of mean gradients whose squares vanish, this and more bounds the steps by about the learning rate.
constexpr double kLeastBoundingEpsilon = 1e-18;

// Settings of the mixers that do nothing.
std::vector<std::string> mixer_warnings(const RunConfig& config) {
  std::vector<std::string> messages;
  const ModelConfig& model = config.model;
  if (std::ssize(model.mixers) > model.layers) {
    messages.push_back("model.mixer names " + std::to_string(model.mixers.size()) + " mixers, model.layers is " +
                       std::to_string(model.layers) + ": the last ones are in no layer");
  }
  const int length = config.data.sequence_length;
  double longest = 0;
  for (const Mixer mixer : model.mixers) {
    if (mixer != Mixer::kAttention && has_mixer(model, mixer)) longest = std::max(longest, longest_tap(model, mixer));
  }
  if (longest >= length) {
    messages.push_back("model.kernel_size is " + std::to_string(model.kernel_size) + ": the farthest tap lies " +
                       std::to_string(static_cast<std::int64_t>(longest)) + " positions back, where a row of " +
                       std::to_string(length) + " tokens (data.sequence_length) has none; its weights never change");
  }
  const bool has_dilated = has_mixer(model, Mixer::kDilatedConv);
  const bool is_dilated = std::ranges::any_of(model.dilation, [](int dilation) { return dilation > 1; });
  const bool is_attention_alone = std::ranges::all_of(model.mixers, [](Mixer m) { return m == Mixer::kAttention; });
  if (!is_attention_alone && !has_dilated && !has_mixer(model, Mixer::kDeformableConv) && is_dilated) {
    messages.push_back("model.dilation is ignored: only the mixers DILATED_CONV and DEFORMABLE_CONV have one");
  }
  if (has_dilated && largest_dilation(model, Mixer::kDilatedConv) == 1) {
    messages.push_back("model.dilation is 1 in every layer: DILATED_CONV is then the same as CONV");
  }
  return messages;
}

// The default suits the mixers that have matrices, and is no wish of those who take another.
bool is_muon_asked_for(const OptimizerSection& optimizer) {
  const double rate = optimizer.muon_learning_rate;
  return rate > 0 && rate != usual_muon_learning_rate(optimizer);
}

// Whether Muon would find a matrix: all mixers but the convolutions of all channels with all have one.
bool has_dense_matrices(const ModelConfig& model) {
  if (model.feed_forward != FeedForward::kKan) return true;
  return std::ranges::any_of(model.mixers, [&](Mixer mixer) {
    return mixer != Mixer::kConv && mixer != Mixer::kDilatedConv && has_mixer(model, mixer);
  });
}

}  // namespace

std::vector<std::string> warnings(const RunConfig& config) {
  std::vector<std::string> messages = mixer_warnings(config);
  if (is_muon_asked_for(config.optimizer) && !has_dense_matrices(config.model)) {
    messages.push_back(
        "optimizer.muon_learning_rate is ignored: neither CONV and DILATED_CONV nor KAN have dense "
        "matrices, so that AdamW updates everything");
  }
  if (config.optimizer.epsilon < kLeastBoundingEpsilon) {
    messages.push_back(
        "optimizer.epsilon is below 1e-18: squares of gradients below 1e-19 are 0 in fp32, so that "
        "these gradients can make steps without bound");
  }
  const std::uint64_t steps = config.train.steps;
  const std::uint64_t warmup = config.optimizer.warmup_steps;
  if (steps > 0 && warmup >= steps) {
    messages.push_back("optimizer.warmup_steps is " + std::to_string(warmup) + ", train.steps " +
                       std::to_string(steps) + ": the run ends before the learning rate is at its full value");
  }
  const std::uint64_t decay = config.optimizer.decay_steps;
  if (config.optimizer.schedule == Schedule::kWsd && steps > 0 && warmup + decay > steps) {
    messages.push_back("optimizer.decay_steps is " + std::to_string(decay) + ", behind a warm-up of " +
                       std::to_string(warmup) + " steps, train.steps " + std::to_string(steps) +
                       ": the decay begins behind the warm-up and is shorter");
  }
  const bool validates = config.log.validation_interval_steps > 0;
  if (config.train.patience > 0 && !validates) {
    messages.push_back(
        "train.patience is ignored: log.validation_interval_steps is 0, so that there is one validation, "
        "at the end");
  }
  return messages;
}

}  // namespace kangpt::config
