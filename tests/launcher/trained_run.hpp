// A small run on made-up stories, trained by the programs themselves, for tests of what comes after training.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {

// A folder with stories.txt, data/ (train and validation split) and run/ (6 steps, a checkpoint each 3).
class TrainedRun {
 public:
  TrainedRun() {
    run({program_path("kangpt_stories"), "--bytes", "60000", "--output", "stories.txt"});
    run({program_path("kangpt_stories"), "--bytes", "9000", "--seed", "2", "--output", "valid.txt"});
    run({program_path("kangpt_preprocess"), "--input", "stories.txt", "--validation", "valid.txt", "--output", "data"});
    write_text(folder_ / "run.textproto", kConfiguration);
    train(2, {});
  }

  const TemporaryDirectory& folder() const noexcept { return folder_; }

  // kangpt_dist on `ranks` ranks with more --set arguments.
  void train(int ranks, const std::vector<std::string>& overrides) const {
    std::vector<std::string> command = {"mpirun", "-np", std::to_string(ranks), program_path("kangpt_dist")};
    command.insert(command.end(), {"--config", "run.textproto"});
    for (const std::string& value : overrides) command.insert(command.end(), {"--set", value});
    run(command);
  }

  ProgramResult program(const std::string& name, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), program_path(name));
    return run_program(arguments, {.working_directory = folder_.path()});
  }

 private:
  static constexpr const char* kConfiguration = R"(
    run { directory: "run" device: CPU threads: 1 }
    data { directory: "data" sequence_length: 16 }
    model { d_model: 16 layers: 2 heads: 2 head_dim: 8 feed_forward: HYBRID kan_degree: 3 mlp_hidden: 32 }
    optimizer { learning_rate: 3e-3 warmup_steps: 2 }
    train { batch_size: 8 steps: 6 logical_shards: 2 }
    checkpoint { interval_steps: 3 }
    log { interval_steps: 1 validation_interval_steps: 0 validation_batches: 0 }
  )";

  void run(const std::vector<std::string>& command) const {
    const ProgramResult result = run_program(command, {.working_directory = folder_.path()});
    if (result.exit_code != 0) throw std::runtime_error(command[0] + " failed: " + result.all_output());
  }

  TemporaryDirectory folder_;
};

}  // namespace kangpt::test
