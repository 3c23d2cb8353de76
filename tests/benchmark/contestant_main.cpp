// kangpt_contestant: trains for tests/benchmark/compare.py, which says when.
#include <iostream>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "launcher/command_line.hpp"
#include "tests/benchmark/contestant.hpp"

namespace {

using namespace kangpt;

int run(int argc, char** argv) {
  CLI::App app("Training steps on one batch: reads numbers of steps, answers with JSON.");
  std::string config_file;
  std::vector<std::string> overrides;
  std::filesystem::path batch;
  std::filesystem::path first_weights;
  app.add_option("--config", config_file, "a run configuration")->required();
  app.add_option("--set", overrides, "section.field=value");
  app.add_option("--batch", batch, "int64 [train.batch_size, data.sequence_length + 1]");
  app.add_option("--write-weights", first_weights, "write the first weights to this file and end");
  if (!launcher::parse_arguments(app, argc, argv)) return 0;
  const config::RunConfig config = config::load_configuration(config_file, overrides).values;
  first_weights.empty() ? benchmarks::serve(config, batch, std::cin, std::cout)
                        : benchmarks::write_first_weights(config, first_weights);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_contestant", run, argc, argv);
}
