// Every mixer in real runs: ranks, stops and exports change no bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::launcher {
namespace {

// One small data set for all mixers.
class MixersEndToEndTest : public ::testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<test::TemporaryDirectory>();
    run({test::program_path("kangpt_stories"), "--bytes", "60000", "--output", "stories.txt"});
    run({test::program_path("kangpt_preprocess"), "--input", "stories.txt", "--output", "data", "--vocabulary",
         test::vocabulary_file()});
    test::write_text(*directory_ / "c.textproto", R"(
        run { threads: 1 }
        data { directory: "data" sequence_length: 16 }
        model { d_model: 8 layers: 2 heads: 2 head_dim: 4 feed_forward: HYBRID kan_degree: 2 mlp_hidden: 8
                kernel_size: 3 dilation: [1, 2] offset_groups: 2 max_offset: 6 }
        optimizer { learning_rate: 0.01 schedule: CONSTANT warmup_steps: 0
                    layer_learning_rate_factor: 0.5 kan_learning_rate_factor: 0.25
                    offset_learning_rate_factor: 0.125 kan_constant_rate_factor: 0.25
                    embedding_learning_rate_factor: 4 muon_learning_rate: 0.02 }
        train { batch_size: 4 steps: 4 logical_shards: 2 }
        checkpoint { interval_steps: 0 }
        log { validation_interval_steps: 0 tensorboard: false })");
  }
  static void TearDownTestSuite() { directory_.reset(); }

  // Standard output; fails the test where the program fails.
  static std::string run(const std::vector<std::string>& argv) {
    const test::ProgramResult result =
        test::run_program(argv, {.working_directory = directory_->path(), .timeout_seconds = 100});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return result.stdout_text;
  }
  static std::string name(const std::string& run) { return GetParam() + ("_" + run); }
  static void train(const std::string& ranks, const std::string& run_name,
                    const std::vector<std::string>& overrides = {}) {
    std::vector<std::string> argv = {"mpirun",   "-np",
                                     ranks,      test::program_path("kangpt_dist"),
                                     "--config", "c.textproto",
                                     "--set",    "run.directory=" + name(run_name),
                                     "--set",    std::string("model.mixer=") + GetParam()};
    for (const std::string& field : overrides) argv.insert(argv.end(), {"--set", field});
    run(argv);
  }
  static std::string digest(const std::string& run_name) {
    return run({test::program_path("kangpt_checkpoint"), "digest", name(run_name)});
  }

  static std::unique_ptr<test::TemporaryDirectory> directory_;
};

std::unique_ptr<test::TemporaryDirectory> MixersEndToEndTest::directory_;

TEST_P(MixersEndToEndTest, RanksStopsAndExportsChangeNoBit) {
  train("1", "whole");
  const std::string expected = digest("whole");
  train("1", "parts", {"train.steps=2"});
  train("2", "parts", {"fault.inject=KILL@rank=1,step=3,phase=reduce"});  // on from the checkpoint, then the snapshot
  EXPECT_EQ(digest("parts"), expected);

  const std::string checkpoint = test::program_path("kangpt_checkpoint");
  run({checkpoint, "export", name("whole"), "--output", name("a.safetensors")});
  run({checkpoint, "import", "--weights", name("a.safetensors"), "--config", "c.textproto", "--set",
       std::string("model.mixer=") + GetParam(), "--output", name("again")});
  run({checkpoint, "export", name("again"), "--output", name("b.safetensors")});
  EXPECT_EQ(test::read_text(*directory_ / name("a.safetensors")), test::read_text(*directory_ / name("b.safetensors")));
}

using OffsetsTest = MixersEndToEndTest;

TEST_P(OffsetsTest, AreShownAndHaveMoved) {
  train("1", "offsets", {"optimizer.learning_rate=0.001"});
  const std::string shown = run({test::program_path("kangpt_checkpoint"), "show", "--offsets", name("offsets")});
  EXPECT_THAT(shown, ::testing::HasSubstr("\n    0         1 "));
  EXPECT_THAT(shown, ::testing::HasSubstr("\n    1         2 "));
  EXPECT_THAT(shown, ::testing::Not(::testing::HasSubstr(" 0.0000 "))) << shown;
}

INSTANTIATE_TEST_SUITE_P(Deformable, OffsetsTest, ::testing::Values("DEFORMABLE_CONV"));

INSTANTIATE_TEST_SUITE_P(AllMixers, MixersEndToEndTest,
                         ::testing::Values("ATTENTION", "CONVMOD", "CONV", "DILATED_CONV", "SEPARABLE_CONV",
                                           "DEFORMABLE_CONV"));

}  // namespace
}  // namespace kangpt::launcher
