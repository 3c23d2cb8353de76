// Every mixer and feed-forward part in real runs: ranks, crashes and exports change no bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Network {
  const char* name;
  const char* mixer;
  const char* feed_forward = "HYBRID";
};

class Mixers : public SharedWorkspace<Corpus::kTokens>, public ::testing::WithParamInterface<Network> {
 protected:
  static std::string name(const std::string& run) { return GetParam().name + ("-" + run); }
  // All fields of mixers, and every rate that parts of the network can have for themselves.
  static std::vector<std::string> settings(const std::vector<std::string>& more = {}) {
    std::vector<std::string> result = {std::string("model.mixer=") + GetParam().mixer,
                                       std::string("model.feed_forward=") + GetParam().feed_forward,
                                       "model.kernel_size=3",
                                       "model.dilation=[1, 2]",
                                       "model.offset_groups=2",
                                       "model.max_offset=6",
                                       "optimizer.schedule=CONSTANT",
                                       "optimizer.layer_learning_rate_factor=0.5",
                                       "optimizer.kan_learning_rate_factor=0.25",
                                       "optimizer.kan_constant_rate_factor=0.25",
                                       "optimizer.offset_learning_rate_factor=0.125",
                                       "optimizer.embedding_learning_rate_factor=4",
                                       "optimizer.muon_learning_rate=0.02",
                                       "checkpoint.interval_steps=0"};
    result.insert(result.end(), more.begin(), more.end());
    return result;
  }
  static void train(int ranks, const std::string& run, const std::vector<std::string>& more = {}) {
    const ProgramResult result = job_->train(ranks, name(run), settings(more));
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }
  static std::string checkpoint(const std::vector<std::string>& arguments) {
    const ProgramResult result = job_->call("kangpt_checkpoint", arguments);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return result.stdout_text;
  }
};

TEST_P(Mixers, RanksCrashesAndExportsChangeNoBit) {
  train(1, "whole");
  train(1, "parts", {"train.steps=6"});
  // On from the checkpoint, then the snapshot.
  train(2, "parts", {"fault.inject=KILL@rank=1,step=9,phase=reduce", "train.recompute=LAYERS"});
  EXPECT_EQ(job_->digest(name("parts")), job_->digest(name("whole")));
  EXPECT_EQ(job_->losses(name("parts")), job_->losses(name("whole")));
  train(4, "four");
  EXPECT_EQ(job_->digest(name("four")), job_->digest(name("whole")));

  std::vector<std::string> import = {"import",         "--weights", name("a.safetensors"), "--config",
                                     "tiny.textproto", "--output",  name("again")};
  for (const std::string& setting : settings()) import.insert(import.end(), {"--set", setting});
  checkpoint({"export", name("whole"), "--output", name("a.safetensors")});
  checkpoint(import);
  checkpoint({"export", name("again"), "--output", name("b.safetensors")});
  EXPECT_EQ(read_text(job_->run(name("a.safetensors"))), read_text(job_->run(name("b.safetensors"))));
}

using Offsets = Mixers;

TEST_P(Offsets, AreShownAndHaveMoved) {
  train(1, "offsets", {"optimizer.learning_rate=0.001"});
  const std::string shown = checkpoint({"show", "--offsets", name("offsets")});
  EXPECT_THAT(shown, HasSubstr("\n    0         1 "));
  EXPECT_THAT(shown, HasSubstr("\n    1         2 "));
  EXPECT_THAT(shown, Not(HasSubstr(" 0.0000 "))) << shown;
}

INSTANTIATE_TEST_SUITE_P(Deformable, Offsets, ::testing::Values(Network{"deformable", "DEFORMABLE_CONV"}));
INSTANTIATE_TEST_SUITE_P(
    All, Mixers,
    ::testing::Values(Network{"attention", "ATTENTION"}, Network{"convmod", "CONVMOD"}, Network{"conv", "CONV"},
                      Network{"dilated", "DILATED_CONV"}, Network{"separable", "SEPARABLE_CONV"},
                      Network{"deformable", "DEFORMABLE_CONV"}, Network{"turns", "[ATTENTION, CONVMOD]"},
                      Network{"swiglu", "ATTENTION", "SWIGLU"}, Network{"grouped", "ATTENTION", "GROUPED_KAN"},
                      Network{"rational", "ATTENTION", "RATIONAL_KAN"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace kangpt::test
