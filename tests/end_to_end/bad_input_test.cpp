// What users get wrong: each with the documented exit code and a message that says what, where and how to go on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class BadInput : public SharedWorkspace<Corpus::kStories> {
 protected:
  // kangpt_dist without mpirun: a world of one rank.
  static ProgramResult start(const std::vector<std::string>& settings) {
    return workspace().call("kangpt_dist", training_arguments(workspace().run("bad").string(), settings));
  }
};

void expect_error(const ProgramResult& result, int exit_code, const ::testing::Matcher<const std::string&>& message) {
  EXPECT_EQ(result.exit_code, exit_code) << result.all_output();
  EXPECT_THAT(result.all_output(), message);
  EXPECT_THAT(result.all_output(), AllOf(Not(HasSubstr("terminate called")), Not(HasSubstr("frame #"))));
  EXPECT_THAT(result.left_running, IsEmpty());
}

TEST_F(BadInput, NoDataDirectoryNamesTheCommandThatMakesIt) {
  expect_error(start({"data.directory=nowhere"}), 66, AllOf(HasSubstr("nowhere"), HasSubstr("kangpt_preprocess")));
}

TEST_F(BadInput, UnknownFieldsAndWrongTypesAreAllNamedAtOnce) {
  expect_error(start({"optimizer.lerning_rate=1", "train.steps=many"}), 78,
               AllOf(HasSubstr("did you mean 'learning_rate'"), HasSubstr("train.steps")));
}

TEST_F(BadInput, ImpossibleModels) {
  expect_error(start({"model.heads=3"}), 78, HasSubstr("heads"));
  expect_error(start({"model.feed_forward=HYBRID", "model.layers=3"}), 78,
               AllOf(HasSubstr("HYBRID"), HasSubstr("layers")));
}

TEST_F(BadInput, ANetworkThatNoMemoryHolds) {
  const std::vector<std::string> huge = {"model.d_model=65536", "model.layers=1024", "model.heads=1"};
  expect_error(start(huge), 78, AllOf(HasSubstr("of memory"), HasSubstr("model.d_model")));
}

TEST_F(BadInput, WorldSizesAndBatchesThatDoNotDivide) {
  expect_error(workspace().train(3, "bad"), 78, HasSubstr("1, 2, 4"));
  expect_error(start({"train.batch_size=6"}), 78, HasSubstr("batch_size"));
}

TEST_F(BadInput, AVocabularyOfAnotherSize) {
  expect_error(start({"model.vocabulary_size=100"}), 78, HasSubstr("50257"));
}

TEST(BadSamples, OfTokensThatAreNotGpt2sAreRefusedBeforeTrainingBegins) {
  const Workspace tokens(Corpus::kTokens);
  expect_error(tokens.train(1, "run", {"log.sample_interval_steps=2"}), 78, HasSubstr("log.sample_interval_steps=0"));
}

TEST_F(BadInput, UnknownFlagsAndMissingConfigurations) {
  expect_error(workspace().call("kangpt_dist", {"--confg", "x"}), 64, HasSubstr("--config"));
  expect_error(workspace().call("kangpt_dist", {"--config", "nowhere.textproto"}), 66, HasSubstr("nowhere.textproto"));
}

TEST_F(BadInput, DamagedShards) {
  fs::copy(workspace().path() / "data", workspace().path() / "flipped");
  flip_byte(workspace().path() / "flipped" / "train-00000.h5", 20'000);
  expect_error(workspace().call("kangpt_preprocess", {"verify", "flipped"}), 65, HasSubstr("train-00000.h5"));
  expect_error(start({"data.directory=flipped"}), 65, HasSubstr("train-00000.h5"));
  fs::copy(workspace().path() / "data", workspace().path() / "cut");
  truncate_file(workspace().path() / "cut" / "train-00000.h5", 10'000);
  expect_error(start({"data.directory=cut"}), 65, HasSubstr("train-00000.h5"));
}

TEST_F(BadInput, ADamagedCheckpointIsPassedOver) {
  ASSERT_EQ(workspace().train(1, "damaged").exit_code, 0);
  const std::string digest = workspace().digest("damaged");
  const fs::path checkpoints = workspace().run("damaged") / "checkpoints";
  flip_byte(checkpoints / "step-0000000012" / "state-00-of-01.h5", 5'000);
  expect_error(workspace().call("kangpt_checkpoint", {"verify", (checkpoints / "step-0000000012").string()}), 65,
               HasSubstr("state-00-of-01.h5"));
  const ProgramResult again = workspace().train(1, "damaged");
  EXPECT_EQ(again.exit_code, 0) << again.all_output();
  EXPECT_THAT(again.stderr_text,
              AllOf(HasSubstr("state-00-of-01.h5"), HasSubstr("quarantine"), HasSubstr("step-0000000008")));
  EXPECT_EQ(workspace().digest("damaged"), digest);
}

TEST_F(BadInput, ACheckpointOfAnotherModel) {
  ASSERT_EQ(workspace().train(1, "other", {"train.steps=1"}).exit_code, 0);
  expect_error(workspace().train(1, "other", {"model.d_model=16"}), 78,
               AllOf(HasSubstr("another network"), HasSubstr("model.d_model is 16, not 8 as there")));
  expect_error(workspace().train(1, "other", {"model.mixer=[ATTENTION, CONVMOD]"}), 78,
               AllOf(HasSubstr("another network"), HasSubstr("model.mixer is [ATTENTION, CONVMOD], not ATTENTION")));
  expect_error(workspace().train(1, "other", {"model.layers=4"}), 78, HasSubstr(": model.layers is 4, not 2 as there"));
  expect_error(workspace().train(1, "other", {"data.sequence_length=12"}), 78,
               HasSubstr(": data.sequence_length is 12, not 16 as there"));
  expect_error(workspace().train(1, "other", {"run.seed=99"}), 78, HasSubstr("run.seed"));
  expect_error(workspace().train(1, "other", {"model.heads=1", "model.head_dim=8"}), 78,
               AllOf(HasSubstr("another network"), HasSubstr("model.heads is 1, not 2"), HasSubstr("run.directory")));
}

TEST_F(BadInput, RequiredCheckpointsThatAreNotThere) {
  expect_error(start({"checkpoint.resume=REQUIRED"}), 65, HasSubstr("REQUIRED"));
}

TEST_F(BadInput, AnUnwritableRunDirectory) {
  expect_error(workspace().call("kangpt_dist", {"--config", "tiny.textproto", "--set", "run.directory=/proc/nowhere"}),
               74, HasSubstr("/proc/nowhere"));
}

TEST_F(BadInput, WeightsOfAnotherModel) {
  ASSERT_EQ(workspace().train(1, "weights", {"train.steps=1"}).exit_code, 0);
  ASSERT_EQ(workspace()
                .call("kangpt_checkpoint", {"export", workspace().run("weights").string(), "--format", "safetensors",
                                            "--output", "w.safetensors"})
                .exit_code,
            0);
  expect_error(start({"model.initial_weights=w.safetensors", "model.layers=4"}), 78,
               HasSubstr("model.layers is 4, not 2 as it says"));
  expect_error(start({"model.initial_weights=weights", "model.layers=4"}), 78,
               AllOf(HasSubstr("model.initial_weights"), HasSubstr("model.layers is 4, not 2 as there")));
  expect_error(start({"model.initial_weights=data"}), 66, HasSubstr("it holds training data"));
  expect_error(start({"model.initial_weights=nowhere.safetensors"}), 66,
               AllOf(HasSubstr("error"), HasSubstr("model.initial_weights"), HasSubstr("nowhere.safetensors")));
  expect_error(workspace().call("kangpt_dist", {"--config", "tiny.textproto", "--plan", "--set",
                                                "model.initial_weights=tiny.textproto"}),
               65, HasSubstr("not a safetensors file"));
}

TEST_F(BadInput, TextThatIsNoText) {
  write_text(workspace().path() / "empty.txt", "");
  expect_error(workspace().call("kangpt_preprocess",
                                {"--input", "empty.txt", "--output", "d1", "--vocabulary", vocabulary_file().string()}),
               65, HasSubstr("empty.txt"));
  write_text(workspace().path() / "binary.txt", std::string("\x7f"
                                                            "ELF\xff\xfe\x00\x01",
                                                            8));
  expect_error(workspace().call("kangpt_preprocess", {"--input", "binary.txt", "--output", "d2", "--vocabulary",
                                                      vocabulary_file().string()}),
               65, HasSubstr("binary.txt"));
}

// A crash that comes again and again must end the job, with the rank and the cause, and leave nothing behind.
TEST_F(BadInput, AWorkerThatKeepsCrashingEndsTheJob) {
  const ProgramResult result =
      workspace().train(2, "crash", {"fault.inject=segv@rank=1,step=1,phase=forward", "fault.max_restarts=0"});
  expect_error(result, 70, AllOf(HasSubstr("rank 1"), HasSubstr("SIGSEGV"), HasSubstr("forward")));
}

}  // namespace
}  // namespace kangpt::test
