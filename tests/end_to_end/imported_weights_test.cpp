#include <gtest/gtest.h>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::launcher {
namespace {

class ImportedWeightsTest : public ::testing::Test {
 protected:
  // Standard output; fails the test where the program fails.
  std::string run(const std::vector<std::string>& argv) const {
    const test::ProgramResult result =
        test::run_program(argv, {.working_directory = directory_.path(), .timeout_seconds = 100});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return result.stdout_text;
  }
  std::string checkpoint(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), test::program_path("kangpt_checkpoint"));
    return run(arguments);
  }
  void train(const std::vector<std::string>& overrides) const {
    std::vector<std::string> argv = {"mpirun",   "-np",        "1", test::program_path("kangpt_dist"),
                                     "--config", "c.textproto"};
    for (const std::string& field : overrides) argv.insert(argv.end(), {"--set", field});
    run(argv);
  }

  test::TemporaryDirectory directory_;
};

// A checkpoint of imported weights leaves logical shards, threads and data undecided; the run that starts from it
// decides and is then the run that model.initial_weights gives.
TEST_F(ImportedWeightsTest, TrainLikeInitialWeights) {
  run({test::program_path("kangpt_stories"), "--bytes", "60000", "--output", "stories.txt"});
  run({test::program_path("kangpt_preprocess"), "--input", "stories.txt", "--output", "data", "--vocabulary",
       test::vocabulary_file()});
  test::write_text(directory_ / "c.textproto", R"(
      data { directory: "data" sequence_length: 16 }
      model { d_model: 8 layers: 1 heads: 2 head_dim: 4 kan_degree: 2 }
      train { batch_size: 4 steps: 2 }
      log { validation_interval_steps: 0 sample_interval_steps: 0 })");
  train({"run.directory=first"});
  checkpoint({"export", "first", "--output", "w.safetensors"});
  train({"run.directory=given", "model.initial_weights=w.safetensors"});
  checkpoint({"import", "--weights", "w.safetensors", "--config", "c.textproto", "--output", "imported"});
  train({"run.directory=imported"});
  const std::string digest = checkpoint({"digest", "given"});
  EXPECT_EQ(digest, checkpoint({"digest", "imported"}));
  EXPECT_NE(digest, checkpoint({"digest", "first"}));
}

}  // namespace
}  // namespace kangpt::launcher
