// kangpt_simulate: what training would wait for on 8 to 1,024 GPUs, by a model of the cluster.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "launcher/command_line.hpp"
#include "tools/simulation/cluster_simulation.hpp"
#include "tools/simulation/simulation_report.hpp"

namespace kangpt {
namespace {

constexpr char kFooter[] = R"(Examples:
  kangpt_simulate                                                  the built-in KAN-GPT on nodes of 8 H100
  kangpt_simulate --config configs/tinystories_mlp.textproto --tokens 1024 --network-gbytes 22
Without model.vocabulary_size (left to the data in training) it is GPT-2's.
Nothing is measured: rates, latencies and the speed of one GPU are assumptions, which the options change.)";

constexpr int kGpt2Vocabulary = 50257;

int simulate(int argc, char** argv) {
  tools::SimulationOptions options;
  std::string config_file;
  std::vector<std::string> overrides;
  double in_node_gbytes = options.cluster.in_node_bytes_per_second / 1e9;
  double network_gbytes = options.cluster.network_bytes_per_second / 1e9;
  CLI::App app("Estimates how long data-parallel training waits for its reductions on a cluster of GPUs.");
  app.footer(kFooter);
  app.set_version_flag("--version", base::version_text("kangpt_simulate"));
  app.add_option("--config", config_file, "Configuration in protobuf text format; without it the built-in one");
  app.add_option("--set", overrides, "section.field=value, overrides the configuration")->allow_extra_args(false);
  app.add_option("--tokens", options.tokens, "Tokens a step on each GPU")->capture_default_str();
  app.add_option("--tokens-per-second", options.cluster.tokens_per_second, "Of one GPU alone")->capture_default_str();
  app.add_option("--gpus-per-node", options.cluster.gpus_per_node, "A power of two")->capture_default_str();
  app.add_option("--in-node-gbytes", in_node_gbytes, "GB/s between GPUs of a node")->capture_default_str();
  app.add_option("--network-gbytes", network_gbytes, "GB/s of each GPU's network card")->capture_default_str();
  app.add_option("--bucket-mbytes", options.bucket_mbytes, "MB reduced at a time where the reduction overlaps")
      ->capture_default_str();
  if (!launcher::parse_arguments(app, argc, argv)) return static_cast<int>(ExitCode::kDone);
  options.cluster.in_node_bytes_per_second = in_node_gbytes * 1e9;
  options.cluster.network_bytes_per_second = network_gbytes * 1e9;
  tools::check(options);
  config::RunConfig config = config::load_configuration(config_file, overrides).values;
  if (config.model.vocabulary_size == 0) config.model.vocabulary_size = kGpt2Vocabulary;
  std::fputs(tools::describe_simulation(config, options).c_str(), stdout);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace
}  // namespace kangpt

int main(int argc, char** argv) {
  kangpt::base::start_log("kangpt_simulate");
  return kangpt::run_program("kangpt_simulate", kangpt::simulate, argc, argv);
}
