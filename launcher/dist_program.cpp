#include "launcher/dist_program.hpp"

#include <cstdio>

#include "base/command.hpp"
#include "base/error.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "launcher/command_line.hpp"
#include "launcher/config_help.hpp"
#include "launcher/job/launch.hpp"
#include "launcher/job/placement.hpp"

namespace kangpt::launcher {
namespace {

constexpr char kFooter[] = R"(Examples:
  kangpt_preprocess --input stories.txt --output data/tinystories
  mpirun -np 2 kangpt_dist                                    the built-in TinyStories KAN-GPT
  mpirun -np 8 kangpt_dist --config configs/tinystories_mlp.textproto --set optimizer.learning_rate=4e-3
  kangpt_dist --config configs/upstream_parity.textproto --plan  what the run needs, without running it
  kangpt_dist --help-config optimizer                            what can be set there
The same command again goes on where the last one stopped. Exit codes: see README.md.)";

struct Arguments {
  LaunchOptions launch;
  bool print_config = false;
  bool plan = false;
  bool save_memory = false;
  std::string help_name;  // of --help-config
  const CLI::Option* help_config = nullptr;
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.footer(kFooter);
  app.add_option("--config", arguments.launch.config_file,
                 "Configuration in protobuf text format; without it the built-in one");
  app.add_option("--set", arguments.launch.overrides,
                 "section.field=value, overrides the configuration; may be repeated")
      ->allow_extra_args(false);
  arguments.help_config =
      app.add_option("--help-config", arguments.help_name,
                     "Print what can be set, in all sections, in one (optimizer) or one field (optimizer.schedule)")
          ->expected(0, 1);
  app.add_flag("--print-config", arguments.print_config,
               "Print the resolved configuration with the origin of each value");
  app.add_flag("--plan", arguments.plan, "Check configuration and data, print what the run needs, train nothing");
  app.add_flag("--save-memory", arguments.save_memory,
               "Make a checkpoint of what earlier starts of the run left in the memory of these nodes; train nothing. "
               "Any number of ranks, one a node");
  app.set_version_flag("--version", [] { return base::version_text("kangpt_dist"); });
}

// True where this was all that was asked for.
bool print_what_is_asked(const Arguments& arguments) {
  if (arguments.help_config->count() > 0) {
    print_config_help(arguments.help_name);
    return true;
  }
  if (!arguments.print_config) return false;
  if (!is_first_rank()) return true;
  const LaunchOptions& launch = arguments.launch;
  std::fputs(config::to_annotated_text(config::load_configuration(launch.config_file, launch.overrides)).c_str(),
             stdout);
  return true;
}

}  // namespace

int dist_program(int argc, char** argv) {
  if (!is_first_rank() && std::freopen("/dev/null", "w", stdout) == nullptr) return static_cast<int>(ExitCode::kIo);
  CLI::App app("Trains a KAN-GPT language model. Start it with mpirun, one process a rank.");
  Arguments arguments;
  add_options(app, arguments);
  try {
    if (!parse_arguments(app, argc, argv) || print_what_is_asked(arguments)) return static_cast<int>(ExitCode::kDone);
  } catch (const Error& error) {  // every rank has it; one says it
    if (is_first_rank()) throw;
    return static_cast<int>(error.exit_code());
  }
  if (arguments.plan) arguments.launch.action = LaunchOptions::Action::kPlan;
  if (arguments.save_memory) arguments.launch.action = LaunchOptions::Action::kSaveMemory;
  return launch(arguments.launch, base::program_folder().string());
}

}  // namespace kangpt::launcher
