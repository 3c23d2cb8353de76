// kangpt_dist: trains, one process a rank under mpirun.
#include <cstdio>

#include "base/command.hpp"
#include "base/error.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "launcher/command_line.hpp"
#include "launcher/job/launch.hpp"
#include "launcher/job/placement.hpp"

namespace {

using namespace kangpt;

constexpr char kFooter[] = R"(Examples:
  kangpt_preprocess --input stories.txt --output data/tinystories
  mpirun -q -np 2 kangpt_dist                                    the built-in TinyStories KAN-GPT
  mpirun -q -np 8 kangpt_dist --config configs/tinystories_mlp.textproto --set optimizer.learning_rate=3e-4
  kangpt_dist --config configs/upstream_parity.textproto --plan  what the run needs, without running it
The same command again goes on where the last one stopped. Exit codes: see README.md.)";

int run(int argc, char** argv) {
  if (!launcher::is_first_rank() && std::freopen("/dev/null", "w", stdout) == nullptr)
    return static_cast<int>(ExitCode::kIo);
  launcher::LaunchOptions options;
  bool print_config = false, plan = false;
  CLI::App app("Trains a KAN-GPT language model. Start it with mpirun, one process a rank.");
  app.footer(kFooter);
  app.add_option("--config", options.config_file, "Configuration in protobuf text format; without it the built-in one");
  app.add_option("--set", options.overrides, "section.field=value, overrides the configuration; may be repeated")
      ->allow_extra_args(false);
  app.add_flag("--print-config", print_config, "Print the resolved configuration with the origin of each value");
  app.add_flag("--plan", plan, "Check configuration and data, print what the run needs, train nothing");
  app.set_version_flag("--version", [] { return base::version_text("kangpt_dist"); });
  try {
    if (!launcher::parse_arguments(app, argc, argv)) return static_cast<int>(ExitCode::kDone);
    if (print_config && launcher::is_first_rank()) {
      std::fputs(config::to_annotated_text(config::load_configuration(options.config_file, options.overrides)).c_str(),
                 stdout);
    }
  } catch (const Error& error) {  // every rank has it; one says it
    if (launcher::is_first_rank()) throw;
    return static_cast<int>(error.exit_code());
  }
  if (print_config) return static_cast<int>(ExitCode::kDone);
  if (plan) options.action = launcher::LaunchOptions::Action::kPlan;
  return launcher::launch(options, base::program_folder().string());
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("kangpt_dist", run, argc, argv);
}
