// Small networks with weights and tokens from a formula that tests/model/parity_oracle.py repeats.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/parameter_table.hpp"
#include "config/run_config.hpp"
#include "model/transformer.hpp"

namespace kangpt::model::testing {

// Uniform multiples of 2^-24 in [-0.5, 0.5) from a linear congruential generator that starts at a hash of `name`.
class Lcg {
 public:
  explicit Lcg(std::string_view name);
  double uniform();

 private:
  std::uint64_t state_;
};

// 2 layers, 8 channels, 37 tokens, 6 positions, 2 heads of 2 or 3 taps, degree 4, 12 hidden features,
// 2 groups.
inline constexpr config::FeedForward kFeedForwards[] = {
    config::FeedForward::kKan,    config::FeedForward::kMlp,        config::FeedForward::kHybrid,
    config::FeedForward::kSwiglu, config::FeedForward::kGroupedKan, config::FeedForward::kRationalKan};
config::ModelConfig small_config(config::FeedForward feed_forward, config::Mixer mixer = config::Mixer::kAttention);

// Weights exact in fp32: norm weights near 1, the rest of about the size that training gives.
void fill_weights(const base::ParameterTable& table, std::span<float> flat);

// Batch of `rows` x `time` tokens; the mask cuts row r's last r % 3 targets.
struct Batch {
  at::Tensor inputs;
  at::Tensor targets;
  at::Tensor mask;
};
Batch make_batch(const config::ModelConfig& config, std::int64_t rows, std::int64_t time);

// A network with its buffers, filled by fill_weights(), gradients zero.
struct Network {
  Network(const config::ModelConfig& model_config, at::ScalarType dtype);

  at::Tensor gradient(const std::string& name) const { return of(gradients, name); }
  at::Tensor value(const std::string& name) const { return of(parameters, name); }
  at::Tensor of(const at::Tensor& flat, const std::string& name) const;

  config::ModelConfig config;
  base::ParameterTable table;
  at::Tensor parameters;
  at::Tensor gradients;
  Transformer transformer;
};

// Adds the gradient of the batch's loss, and returns that.
operations::LossSum forward_and_backward(Network& network, const Batch& batch);

// |a - b| / |b| in Frobenius norm, computed in fp64.
double relative_error(const at::Tensor& a, const at::Tensor& b);

}  // namespace kangpt::model::testing
