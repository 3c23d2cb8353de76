// kangpt_chaos: kills, stops and corrupts a training job at random, and compares what it ends with.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "launcher/command_line.hpp"
#include "tools/chaos/chaos.hpp"
#include "tools/chaos/faults.hpp"

namespace kangpt {
namespace {

constexpr char kFooter[] = R"(Example:
  kangpt_chaos --runs 30 --seed 7 -- mpirun -np 2 kangpt_dist --config configs/tiny_cpu.textproto \
      --set checkpoint.interval_steps=10 --set fault.hang_timeout_seconds=2
Exit code: 0 if every run ended with the digest of the undisturbed one, 75 if a signal ended it before all had (the
report is on those that had), else 70.
Kinds of faults:)";

int chaos(int argc, char** argv) {
  tools::ChaosOptions options{.directory = "runs/chaos"};
  std::string json_file;
  CLI::App app("Harms a training job at random and checks that it ends with the bits of an undisturbed one.");
  app.footer(kFooter + tools::lines_of_fault_words());
  app.set_version_flag("--version", base::version_text("kangpt_chaos"));
  app.add_option("--runs", options.runs, "Runs to harm")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed, "Decides what happens when")->capture_default_str();
  app.add_option("--faults", options.faults_per_run, "Faults in each run, at most")->capture_default_str();
  app.add_option("--kind", options.kinds, "Only faults of this kind; repeatable")
      ->check(CLI::IsMember(tools::fault_words()))
      ->option_text("KIND ...")
      ->allow_extra_args(false);
  app.add_option("--nodes", options.nodes, "Pretend so many nodes, each with some of the ranks and a memory of its own")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--directory", options.directory, "New folder for the run directories")->capture_default_str();
  app.add_option("--json", json_file, "Write the report to this file too");
  app.add_option("command", options.command, "After --: mpirun and all that follows it")->required();
  if (!launcher::parse_arguments(app, argc, argv)) return static_cast<int>(ExitCode::kDone);
  base::start_log("kangpt_chaos");
  const tools::ChaosReport report = tools::run_chaos(options);
  std::fputs(to_table(report).c_str(), stdout);
  if (!json_file.empty()) base::write_file_atomically(json_file, to_json(report));
  if (report.equal_digests != report.runs) return static_cast<int>(ExitCode::kInternal);
  return static_cast<int>(report.was_stopped ? ExitCode::kStopped : ExitCode::kDone);
}

}  // namespace
}  // namespace kangpt

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_chaos", kangpt::chaos, argc, argv);
}
