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

}  // namespace
}  // namespace kangpt::test
