// A checkpoint of imported weights leaves logical shards, threads and data undecided; the run that starts from it
// decides and is then the run that model.initial_weights gives.
#include <gtest/gtest.h>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

TEST(ImportedWeights, TrainLikeInitialWeights) {
  const Workspace job(Corpus::kTokens);
  const auto train = [&](const std::string& name, const std::vector<std::string>& settings) {
    const ProgramResult result = job.train(1, name, settings);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
  };
  const auto checkpoint = [&](const std::vector<std::string>& arguments) {
    const ProgramResult result = job.call("kangpt_checkpoint", arguments);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
  };
  train("first", {});
  checkpoint({"export", "first", "--output", "w.safetensors"});
  train("given", {"model.initial_weights=w.safetensors"});
  checkpoint({"import", "--weights", "w.safetensors", "--config", "tiny.textproto", "--output", "imported"});
  train("imported", {});
  EXPECT_EQ(job.digest("imported"), job.digest("given"));
  EXPECT_EQ(job.losses("imported"), job.losses("given"));
  EXPECT_NE(job.digest("imported"), job.digest("first"));
}

TEST(InitialWeights, MayBeWhateverKangptGenerateReads) {
  const Workspace job(Corpus::kTokens);
  ASSERT_EQ(job.train(1, "first", {}).exit_code, 0);
  ASSERT_EQ(job.call("kangpt_checkpoint", {"export", "first", "--output", "w.safetensors"}).exit_code, 0);
  ASSERT_EQ(
      job.call("kangpt_checkpoint", {"export", "first", "--format", "huggingface", "--output", "folder"}).exit_code, 0);
  const auto digest_from = [&](const std::string& name, const std::string& weights) {
    const ProgramResult result = job.train(2, name, {"train.steps=2", "model.initial_weights=" + weights});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_NE(read_text(job.run(name) / "config.textproto").find("initial_weights: \"" + weights + "\""),
              std::string::npos)
        << "as the user gave it";
    return job.digest(name);
  };
  const std::string expected = digest_from("file", "w.safetensors");
  EXPECT_EQ(expected.size(), 64U);
  EXPECT_EQ(digest_from("export", "folder"), expected);
  EXPECT_EQ(digest_from("run", "first"), expected);
  EXPECT_EQ(digest_from("checkpoint", "first/checkpoints/step-0000000012"), expected);
  EXPECT_NE(digest_from("older", "first/checkpoints/step-0000000008"), expected);
}

}  // namespace
}  // namespace kangpt::test
