// Times forward + backward of the parity network. Waits for a line on standard input before each repetition, so that
// bench/pytorch_baseline.py can take turns with it; prints the seconds of one step and the peak memory.
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.hpp"
#include "model/initialisation.hpp"
#include "model/parameter_layout.hpp"
#include "model/transformer.hpp"

namespace {

constexpr int kSteps = 3;  // a repetition

kangpt::config::ModelConfig parity_network(const std::string& feed_forward) {
  using kangpt::config::FeedForward;
  kangpt::config::ModelConfig config;
  config.vocabulary_size = 50257;
  config.sequence_length = 64;
  config.d_model = 128;
  config.layers = 16;
  config.heads = 8;
  config.head_dim = 2;
  config.kan_degree = 8;
  config.mlp_hidden = 768;
  config.feed_forward = feed_forward == "mlp" ? FeedForward::kMlp : FeedForward::kKan;
  return config;
}

double peak_megabytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1000;
}

// Arguments: kan or mlp, sequences a step, threads.
int body(int argc, char** argv) {
  if (argc != 4) throw kangpt::UsageError("usage: kangpt_bench_step kan|mlp SEQUENCES THREADS");
  const kangpt::config::ModelConfig config = parity_network(argv[1]);
  const std::int64_t sequences = std::stoi(argv[2]);
  at::set_num_threads(std::stoi(argv[3]));
  const kangpt::base::ParameterTable table = kangpt::model::parameter_layout(config);
  const auto size = static_cast<std::int64_t>(table.flat_size);
  const at::Tensor parameters = at::zeros({size}, at::kFloat);
  const at::Tensor gradients = at::zeros({size}, at::kFloat);
  kangpt::model::initialise(config, table, 1, {parameters.data_ptr<float>(), table.flat_size});
  kangpt::model::Transformer network(config, table, parameters, gradients);
  const at::Tensor ids = at::randint(config.vocabulary_size, {sequences, config.sequence_length}, at::kLong);
  const at::Tensor mask = at::ones({sequences, config.sequence_length}, at::kFloat);
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    for (int step = 0; step < kSteps; ++step) {
      network.forward(ids, ids, mask);
      network.backward();
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    std::printf("%.6f %.0f\n", elapsed.count() / kSteps, peak_megabytes());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_bench_step", body, argc, argv);
}
