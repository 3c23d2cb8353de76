// Forward + backward of the parity network on all threads, 16 sequences of 64 tokens.
#include <benchmark/benchmark.h>

#include <fstream>
#include <string>

#include "model/initialisation.hpp"
#include "model/parameter_layout.hpp"
#include "model/transformer.hpp"

namespace kangpt::model {
namespace {

constexpr std::int64_t kSequences = 16;

config::ModelConfig parity_network(config::FeedForward feed_forward) {
  config::ModelConfig config;
  config.vocabulary_size = 50257;
  config.sequence_length = 64;
  config.d_model = 128;
  config.layers = 16;
  config.heads = 8;
  config.head_dim = 2;
  config.kan_degree = 8;
  config.mlp_hidden = 768;
  config.feed_forward = feed_forward;
  return config;
}

double peak_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "VmHWM:") continue;
    status >> word;
    return std::stod(word) * 1024 / 1e6;
  }
  return 0;
}

void training_step(benchmark::State& state, config::FeedForward feed_forward) {
  const config::ModelConfig config = parity_network(feed_forward);
  const base::ParameterTable table = parameter_layout(config);
  const at::Tensor parameters = at::zeros({static_cast<std::int64_t>(table.flat_size)}, at::kFloat);
  const at::Tensor gradients = at::zeros_like(parameters);
  initialise(config, table, 1, {parameters.data_ptr<float>(), table.flat_size});
  Transformer network(config, table, parameters, gradients);
  const at::Tensor ids = at::randint(config.vocabulary_size, {kSequences, config.sequence_length}, at::kLong);
  const at::Tensor mask = at::ones({kSequences, config.sequence_length}, at::kFloat);
  for (auto repetition : state) {
    network.forward(ids, ids, mask);
    network.backward();
  }
  const double tokens = static_cast<double>(state.iterations() * ids.numel());
  state.counters["tokens_per_second"] = benchmark::Counter(tokens, benchmark::Counter::kIsRate);
  state.counters["peak_megabytes"] = peak_megabytes();
}

// The part that all networks share: logits, loss and both gradients.
void head(benchmark::State& state) {
  const config::ModelConfig config = parity_network(config::FeedForward::kKan);
  const std::unique_ptr<Operations> operations = make_operations(at::kCPU, config::Precision::kFp32);
  const std::int64_t rows = kSequences * config.sequence_length;
  const at::Tensor x = at::randn({rows, config.d_model});
  const at::Tensor dx = at::empty_like(x);
  const at::Tensor weight = at::randn({config.vocabulary_size, config.d_model}) * 0.1;
  const Parameter parameter = {weight, at::zeros_like(weight)};
  const LossTargets targets = {at::randint(config.vocabulary_size, {rows}, at::kLong), at::ones({rows})};
  for (auto repetition : state) operations->head_loss_and_gradient(x, parameter, targets, dx);
}

BENCHMARK(head)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(training_step, kan, config::FeedForward::kKan)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(training_step, mlp, config::FeedForward::kMlp)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kangpt::model
