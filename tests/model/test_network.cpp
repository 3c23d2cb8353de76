#include "tests/model/test_network.hpp"

#include <vector>

#include "model/parameters/parameter_layout.hpp"
#include "operations/parameter_views.hpp"

namespace kangpt::model::testing {
namespace {

// What a parameter is drawn from: centre + width * uniform.
struct Spread {
  double centre;
  double width;
};

Spread spread_of(const std::string& name) {
  if (name.find("norm.weight") != std::string::npos) return {1, 0.25};
  if (name.ends_with(".bias")) return {0, 0.125};
  if (name.ends_with(".kan.coefficients")) return {0, 0.0625};
  if (name.ends_with(".coefficients") || name.ends_with("numerator")) return {0.25, 0.5};
  if (name.ends_with("embedding.weight")) return {0, 2};
  return {0, 0.5};
}

}  // namespace

Lcg::Lcg(std::string_view name) : state_(14695981039346656037ULL) {
  for (const char letter : name) state_ = (state_ ^ static_cast<unsigned char>(letter)) * 1099511628211ULL;  // FNV-1a
}

double Lcg::uniform() {
  state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
  return static_cast<double>(state_ >> 40) / (1 << 24) - 0.5;
}

config::ModelConfig small_config(config::FeedForward feed_forward, config::Mixer mixer) {
  config::ModelConfig config;
  config.vocabulary_size = 37;
  config.sequence_length = 6;
  config.d_model = 8;
  config.layers = 2;
  config.heads = 2;
  config.head_dim = 2;
  config.mixers = {mixer};
  config.kernel_size = 3;
  config.dilation = {1, 2};
  config.offset_groups = 2;
  config.max_offset = 4.5;
  config.feed_forward = feed_forward;
  config.kan_degree = 4;
  config.mlp_hidden = 12;
  config.kan_groups = 2;
  return config;
}

void fill_weights(const base::ParameterTable& table, std::span<float> flat) {
  for (const base::ParameterEntry& entry : table.entries) {
    Lcg generator(entry.name);
    const Spread spread = spread_of(entry.name);
    for (float& value : flat.subspan(entry.offset, entry.size)) {
      value = static_cast<float>(spread.centre + spread.width * generator.uniform());
    }
  }
}

Batch make_batch(const config::ModelConfig& config, std::int64_t rows, std::int64_t time) {
  Lcg generator("tokens");
  const at::Tensor ids = at::empty({rows, time + 1}, at::kLong);
  for (std::int64_t index = 0; index < ids.numel(); ++index) {
    ids.data_ptr<std::int64_t>()[index] =
        static_cast<std::int64_t>((generator.uniform() + 0.5) * config.vocabulary_size);
  }
  const at::Tensor mask = at::ones({rows, time}, at::kFloat);
  for (std::int64_t row = 0; row < rows; ++row) mask[row].narrow(0, time - row % 3, row % 3).zero_();
  return {ids.narrow(1, 0, time).contiguous(), ids.narrow(1, 1, time).contiguous(), mask};
}

Network::Network(const config::ModelConfig& model_config, at::ScalarType dtype)
    : config(model_config),
      table(parameter_layout(config)),
      parameters([this, dtype] {
        const at::Tensor flat = at::zeros({static_cast<std::int64_t>(table.flat_size)}, at::kFloat);
        fill_weights(table, {flat.data_ptr<float>(), table.flat_size});
        return flat.to(dtype);
      }()),
      gradients(at::zeros_like(parameters)),
      transformer(config, table, {parameters, gradients}) {}

at::Tensor Network::of(const at::Tensor& flat, const std::string& name) const {
  return operations::ParameterViews(table, flat, {}).parameter(name).value;
}

operations::LossSum forward_and_backward(Network& network, const Batch& batch) {
  const TrainingLoss loss = network.transformer.forward(batch.inputs, batch.targets, batch.mask);
  network.transformer.backward();
  return {loss.loss.value(), loss.tokens};
}

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor exact = b.to(at::kDouble);
  return ((a.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

}  // namespace kangpt::model::testing
