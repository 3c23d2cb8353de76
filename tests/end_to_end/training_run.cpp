#include "tests/end_to_end/training_run.hpp"

#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace kangpt::test {
namespace {

// Four ranks share two processors: fine for bits, and mpirun asks to be told.
constexpr char kTinyRun[] = R"(
run { device: CPU threads: 1 }
data { directory: "data" mode: PACKED sequence_length: 16 }
model { d_model: 8 layers: 2 heads: 2 head_dim: 4 feed_forward: KAN kan_degree: 3 mlp_hidden: 16 }
optimizer { learning_rate: 1e-2 minimum_learning_rate: 1e-3 warmup_steps: 2 }
train { batch_size: 8 steps: 8 logical_shards: 4 }
checkpoint { interval_steps: 4 keep_last: 3 }
log { interval_steps: 1 tensorboard: false validation_batches: 1 }
)";

void require_success(const ProgramResult& result) {
  if (result.exit_code != 0) throw std::runtime_error("preparing the data failed: " + result.all_output());
}

}  // namespace

Workspace::Workspace() {
  write_text(path() / "tiny.textproto", kTinyRun);
  require_success(call("kangpt_stories", {"--bytes", "200000", "--seed", "1", "--output", "train.txt"}));
  require_success(call("kangpt_stories", {"--bytes", "20000", "--seed", "2", "--output", "valid.txt"}));
  require_success(call("kangpt_preprocess", {"--input", "train.txt", "--validation", "valid.txt", "--output", "data",
                                             "--vocabulary", vocabulary_file().string()}));
}

std::vector<std::string> Workspace::training_command(int ranks, const std::string& name,
                                                     const std::vector<std::string>& settings) const {
  std::vector<std::string> command = {"mpirun",
                                      "--oversubscribe",
                                      "-np",
                                      std::to_string(ranks),
                                      program_path("kangpt_dist"),
                                      "--config",
                                      "tiny.textproto",
                                      "--set",
                                      "run.directory=" + run(name).string()};
  for (const std::string& setting : settings) {
    command.push_back("--set");
    command.push_back(setting);
  }
  return command;
}

ProgramResult Workspace::train(int ranks, const std::string& name, const std::vector<std::string>& settings) const {
  return run_program(training_command(ranks, name, settings),
                     {.working_directory = path(), .timeout_seconds = kTrainingTimeoutSeconds});
}

ProgramResult Workspace::call(const std::string& program, const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {program_path(program)};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_program(command, {.working_directory = path(), .timeout_seconds = kTrainingTimeoutSeconds});
}

std::string Workspace::digest(const std::string& name) const {
  const ProgramResult result = call("kangpt_checkpoint", {"digest", run(name).string()});
  return result.exit_code == 0 ? result.stdout_text.substr(0, result.stdout_text.find('\n')) : "";
}

std::vector<std::string> Workspace::losses(const std::string& name) const {
  std::istringstream lines(read_text(run(name) / "metrics.jsonl"));
  std::vector<std::string> losses;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json value = nlohmann::json::parse(line);
    if (value.contains("loss")) losses.push_back(value["step"].dump() + " " + value["loss"].dump());
  }
  return losses;
}

}  // namespace kangpt::test
