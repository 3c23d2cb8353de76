// A vocabulary that is made from the text goes along with data and run: nothing asks for another file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class OwnVocabulary : public ::testing::Test {
 protected:
  // There is no GPT-2 vocabulary for any of the programs.
  static void SetUpTestSuite() {
    const std::string cache = std::getenv("KANGPT_CACHE");
    setenv("KANGPT_CACHE", "/nonexistent", 1);
    job_ = std::make_unique<Workspace>(Corpus::kTokens);
    std::string config = read_text(job_->path() / "tiny.textproto");
    config.erase(config.find("vocabulary_size: 300"), 20);
    write_text(job_->path() / "tiny.textproto", config);
    call("kangpt_stories", {"--bytes", "60000", "--output", "stories.txt"});
    call("kangpt_stories", {"--bytes", "9000", "--seed", "2", "--output", "valid.txt"});
    call("kangpt_preprocess", {"--input", "stories.txt", "--validation", "valid.txt", "--output", "data",
                               "--train-vocabulary", "421", "--force"});
    call("kangpt_preprocess",
         {"--input", "stories.txt", "--validation", "valid.txt", "--output", "fewer", "--train-vocabulary", "300"});
    EXPECT_EQ(train({"log.sample_interval_steps=6", "log.sample_prompt=\"The cat\""}).exit_code, 0);
    setenv("KANGPT_CACHE", cache.c_str(), 1);
  }
  static void TearDownTestSuite() { job_.reset(); }
  void SetUp() override { setenv("KANGPT_CACHE", "/nonexistent", 1); }

  static ProgramResult call(const std::string& program, const std::vector<std::string>& arguments) {
    const ProgramResult result = job_->call(program, arguments);
    EXPECT_EQ(result.exit_code, 0) << program << ": " << result.all_output();
    return result;
  }
  static ProgramResult train(const std::vector<std::string>& settings) { return job_->train(1, "run", settings); }

  static inline std::unique_ptr<Workspace> job_;
};

TEST_F(OwnVocabulary, LiesInTheDataAndInTheRun) {
  const std::string made = read_text(job_->path() / "data/tokenizer.json");
  EXPECT_EQ(read_text(job_->run("run") / "tokenizer.json"), made);
  EXPECT_THAT(read_text(job_->run("run") / "config.textproto"), HasSubstr("vocabulary_size: 421"));
  call("kangpt_vocabulary",
       {"train", "--input", "stories.txt", "--size", "421", "--workers", "3", "--output", "own.json"});
  EXPECT_EQ(read_text(job_->path() / "own.json"), made);
  EXPECT_THAT(call("kangpt_preprocess", {"verify", "data"}).stdout_text, HasSubstr("tokenizer.json: ok, 421 tokens"));
  const std::string shown = call("kangpt_preprocess", {"show", "data", "--story", "0"}).stdout_text;
  EXPECT_EQ(read_text(job_->path() / "stories.txt").substr(0, 40), shown.substr(0, 40));
}

TEST_F(OwnVocabulary, IsWhatSamplesGenerationAndEvaluationWriteWith) {
  EXPECT_THAT(read_text(job_->run("run") / "samples/step-0000000012.txt"), HasSubstr("The cat"));
  fs::copy(job_->run("run"), job_->path() / "elsewhere", fs::copy_options::recursive);
  const ProgramResult text =
      call("kangpt_generate", {"--checkpoint", "elsewhere", "--prompt", "The cat", "--tokens", "9"});
  EXPECT_TRUE(text.stdout_text.starts_with("The cat")) << text.stdout_text;
  call("kangpt_checkpoint", {"export", "elsewhere", "--format", "safetensors", "--output", "elsewhere/w.safetensors"});
  call("kangpt_generate", {"--checkpoint", "elsewhere/w.safetensors", "--prompt", "A dog", "--tokens", "9"});
  const json eval =
      json::parse(call("kangpt_eval", {"--checkpoint", "elsewhere", "--data", "data", "--json"}).stdout_text);
  EXPECT_EQ(eval["bytes_from"], "vocabulary");
}

TEST_F(OwnVocabulary, GoesAlongToPythonAndBack) {
  call("kangpt_checkpoint", {"export", "run", "--format", "huggingface", "--output", "folder"});
  EXPECT_EQ(read_text(job_->path() / "folder/tokenizer.json"), read_text(job_->run("run") / "tokenizer.json"));
  EXPECT_EQ(json::parse(read_text(job_->path() / "folder/tokenizer_config.json"))["eos_token"], "<|endoftext|>");
  for (const std::string file : {"config.json", "generation_config.json"})
    EXPECT_EQ(json::parse(read_text(job_->path() / "folder" / file))["eos_token_id"], 420) << file;
  call("kangpt_checkpoint", {"import", "--weights", "folder", "--output", "back"});
  const auto text_of = [](const std::string& weights) {
    return call("kangpt_generate",
                {"--checkpoint", weights, "--prompt", "The cat", "--tokens", "9", "--temperature", "0"})
        .stdout_text;
  };
  EXPECT_EQ(text_of("folder"), text_of("run"));
  EXPECT_EQ(text_of("back"), text_of("run"));
  const ProgramResult other = job_->call("kangpt_checkpoint", {"export", "run", "--format", "huggingface", "--output",
                                                               "other", "--vocabulary", "fewer/tokenizer.json"});
  EXPECT_EQ(other.exit_code, 78) << other.all_output();
  EXPECT_THAT(other.all_output(), AllOf(HasSubstr("421"), HasSubstr("300")));
}

TEST_F(OwnVocabulary, AnotherOneIsRefused) {
  const ProgramResult other = train({"data.directory=fewer", "train.steps=13"});
  EXPECT_EQ(other.exit_code, 78) << other.all_output();
  EXPECT_THAT(other.all_output(), HasSubstr("vocabulary_size"));
  const ProgramResult given = train({"model.vocabulary_size=300", "train.steps=13"});
  EXPECT_EQ(given.exit_code, 78) << given.all_output();
  EXPECT_THAT(given.all_output(), AllOf(HasSubstr("421"), HasSubstr("or 0 for as many as the data have")));
  const ProgramResult evaluated = job_->call("kangpt_eval", {"--checkpoint", "run", "--data", "fewer"});
  EXPECT_EQ(evaluated.exit_code, 78) << evaluated.all_output();
}

TEST_F(OwnVocabulary, DataWithoutItTrainStill) {
  fs::copy(job_->path() / "data", job_->path() / "bare");
  fs::remove(job_->path() / "bare/tokenizer.json");
  const ProgramResult trained = job_->train(1, "bare-run", {"data.directory=bare", "train.steps=2"});
  EXPECT_EQ(trained.exit_code, 0) << trained.all_output();
  EXPECT_FALSE(fs::exists(job_->run("bare-run") / "tokenizer.json"));
  const ProgramResult refused =
      job_->train(1, "bare-samples", {"data.directory=bare", "train.steps=2", "log.sample_interval_steps=1"});
  EXPECT_EQ(refused.exit_code, 78) << refused.all_output();
  EXPECT_THAT(refused.all_output(), HasSubstr("make the data again with kangpt_preprocess, which keeps it there"));
  call("kangpt_preprocess",
       {"--input", "stories.txt", "--validation", "valid.txt", "--output", "bare", "--train-vocabulary", "421"});
  EXPECT_TRUE(fs::exists(job_->path() / "bare/tokenizer.json")) << "the same command puts it there";
  std::ofstream(job_->path() / "bare/tokenizer.json", std::ios::app) << " ";
  EXPECT_EQ(job_->call("kangpt_preprocess", {"verify", "bare"}).exit_code, 65);
}

}  // namespace
}  // namespace kangpt::test
