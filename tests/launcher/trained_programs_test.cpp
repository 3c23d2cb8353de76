// kangpt_generate and kangpt_eval on a small trained run.
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <sstream>

#include "base/error.hpp"
#include "data_pipeline/dataset.hpp"
#include "data_pipeline/vocabulary.hpp"
#include "io/safetensors.hpp"
#include "launcher/eval_program.hpp"
#include "launcher/generate_program.hpp"
#include "tests/end_to_end/training_run.hpp"

namespace kangpt::launcher {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;

// What a program throws, called as a function.
Error error_of(int (*program)(int, char**), std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  try {
    program(static_cast<int>(arguments.size()), argv.data());
  } catch (const Error& error) {
    return error;
  }
  return {ExitCode::kDone, "nothing was thrown"};
}

class TrainedProgramsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    trained_ = std::make_unique<test::Workspace>();
    const test::ProgramResult result =
        trained_->train(2, "run",
                        {"train.steps=6", "checkpoint.interval_steps=3", "train.logical_shards=2",
                         "model.feed_forward=HYBRID", "log.validation_interval_steps=0", "log.validation_batches=0"});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }
  static void TearDownTestSuite() { trained_.reset(); }

  static test::ProgramResult generate(std::vector<std::string> arguments) {
    return trained_->call("kangpt_generate", std::move(arguments));
  }
  static std::string story(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--checkpoint", "run", "--prompt", "Once", "--tokens", "12"});
    const test::ProgramResult result = generate(std::move(arguments));
    EXPECT_EQ(result.exit_code, 0) << result.stderr_text;
    return result.stdout_text;
  }
  static json eval(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--data", "data", "--json", "--threads", "1"});
    const test::ProgramResult result = trained_->call("kangpt_eval", std::move(arguments));
    EXPECT_EQ(result.exit_code, 0) << result.stderr_text;
    return json::parse(result.stdout_text);
  }
  static fs::path path(const std::string& name) { return trained_->path() / name; }
  static std::string copy_of_run(const std::string& name) {
    fs::copy(path("run"), path(name), fs::copy_options::recursive);
    return name;
  }

  static inline std::unique_ptr<test::Workspace> trained_;
};

TEST_F(TrainedProgramsTest, TheSameSeedGivesTheSameTextAndAnotherOneAnother) {
  const std::string text = story({});
  EXPECT_THAT(text, StartsWith("Once"));
  EXPECT_EQ(text, story({"--seed", "1"}));
  EXPECT_NE(text, story({"--seed", "2"}));
}

TEST_F(TrainedProgramsTest, GreedyTextHasNothingToDoWithTheSeed) {
  EXPECT_EQ(story({"--temperature", "0"}), story({"--top-k", "1", "--seed", "5"}));
}

TEST_F(TrainedProgramsTest, SamplesAreSeparatedAndHaveSeedsOfTheirOwn) {
  const std::string text = story({"--count", "2", "--seed", "4"});
  EXPECT_EQ(text, "--- 1 of 2 (seed 4) ---\n" + story({"--seed", "4"}) + "\n--- 2 of 2 (seed 5) ---\n" +
                      story({"--seed", "5"}));
}

TEST_F(TrainedProgramsTest, PromptsOfAnyLengthWork) {
  std::string prompt;
  for (int i = 0; i < 60; ++i) prompt += "The cat sat. ";
  const test::ProgramResult lengthy = generate({"--checkpoint", "run", "--prompt", prompt, "--tokens", "40"});
  EXPECT_EQ(lengthy.exit_code, 0) << lengthy.stderr_text;
  EXPECT_THAT(lengthy.stdout_text, StartsWith(prompt));
  EXPECT_EQ(generate({"--checkpoint", "run", "--prompt", "", "--tokens", "5"}).exit_code, 0);
  EXPECT_EQ(generate({"--checkpoint", "run", "--prompt", "- x", "--tokens", "0"}).stdout_text, "- x\n");
}

TEST_F(TrainedProgramsTest, AnExportedFileSaysTheSameAsItsRun) {
  ASSERT_EQ(trained_->call("kangpt_checkpoint", {"export", "--output", "w.safetensors", "run"}).exit_code, 0);
  const auto of = [&](const std::string& source) {
    return generate({"--checkpoint", source, "--prompt", "Once", "--tokens", "12"}).stdout_text;
  };
  EXPECT_EQ(of("w.safetensors"), of("run"));
  EXPECT_EQ(of("run/checkpoints/step-0000000006"), of("run"));
  EXPECT_NE(of("run/checkpoints/step-0000000003"), of("run"));
}

TEST_F(TrainedProgramsTest, AFileThatNamesNoModelNeedsAConfiguration) {
  ASSERT_EQ(trained_->call("kangpt_checkpoint", {"export", "--output", "named.safetensors", "run"}).exit_code, 0);
  const io::SafetensorsFile named(path("named.safetensors"));
  std::vector<io::TensorToWrite> tensors;
  std::vector<std::vector<float>> values;
  for (const auto& [name, tensor] : named.tensors()) {
    values.emplace_back(tensor.bytes.size() / sizeof(float));
    named.read(name, tensor.shape, values.back());
    tensors.push_back({name, tensor.shape, values.back()});
  }
  io::write_safetensors(path("bare.safetensors"), tensors, {});
  const std::vector<std::string> bare = {"--checkpoint", "bare.safetensors", "--prompt", "Once", "--tokens", "12"};
  const test::ProgramResult refused = generate(bare);
  EXPECT_EQ(refused.exit_code, 65);
  EXPECT_THAT(refused.stderr_text, HasSubstr("--config FILE"));
  std::vector<std::string> with_config = bare;
  with_config.insert(with_config.end(), {"--config", "run/config.textproto"});
  EXPECT_EQ(generate(with_config).stdout_text, story({}));
}

TEST_F(TrainedProgramsTest, WeightsThatAreNoNumbersOrGiveNoneAreAnError) {
  const std::string file = "bad.safetensors";
  ASSERT_EQ(trained_->call("kangpt_checkpoint", {"export", "--output", file, "run"}).exit_code, 0);
  const auto fill_end = [&](char byte) {
    std::fstream stream(path(file), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(-4000, std::ios::end);
    stream << std::string(4000, byte);
  };
  const auto evaluate = [&] { return trained_->call("kangpt_eval", {"--checkpoint", file, "--data", "data"}); };
  fill_end('\xff');  // NaN
  for (const test::ProgramResult& result : {generate({"--checkpoint", file, "--prompt", "Once"}), evaluate()}) {
    EXPECT_EQ(result.exit_code, 65);
    EXPECT_THAT(result.stderr_text, HasSubstr("are not all finite numbers"));
  }
  fill_end('\x7f');  // 3.4e38: products overflow
  const test::ProgramResult result = evaluate();
  EXPECT_EQ(result.exit_code, 65);
  EXPECT_THAT(result.stderr_text, HasSubstr("not a finite number"));
}

TEST_F(TrainedProgramsTest, ADamagedCheckpointIsPassedOverAndNothingIsMoved) {
  const std::string run = copy_of_run("damaged");
  const fs::path newest = path(run) / "checkpoints/step-0000000006";
  test::flip_byte(newest / "state-00-of-02.h5", 5000);
  const test::ProgramResult older = generate({"--checkpoint", run, "--prompt", "Once", "--tokens", "12"});
  EXPECT_EQ(older.exit_code, 0) << older.stderr_text;
  EXPECT_THAT(older.stderr_text, HasSubstr("step-0000000003"));
  EXPECT_TRUE(fs::exists(newest));
  EXPECT_EQ(generate({"--checkpoint", newest.string(), "--prompt", "Once"}).exit_code, 65);
}

TEST_F(TrainedProgramsTest, BadArgumentsHaveTheirExitCodes) {
  test::write_text(path("bad.safetensors"), "not a safetensors file");
  test::write_text(path("small.bpe"), "#version: 0.2\nh e\n");
  struct Case {
    std::vector<std::string> more;
    int exit_code;
    std::string says;
  };
  const std::vector<Case> cases = {{{"--temperature", "-1"}, 64, "--temperature"},
                                   {{"--temperature", "nan"}, 64, "--temperature"},
                                   {{"--temperature", "warm"}, 64, "--temperature"},
                                   {{"--top-k", "-1"}, 64, "--top-k"},
                                   {{"--top-p", "0"}, 64, "greater than 0 and at most 1"},
                                   {{"--top-p", "1.5"}, 64, "--top-p"},
                                   {{"--tokens", "-3"}, 64, "--tokens"},
                                   {{"--count", "0"}, 64, "--count"},
                                   {{"--seed", "x"}, 64, "--seed"},
                                   {{"--seed", "-1"}, 64, "0 to 18446744073709551615"},
                                   {{"--seed", "18446744073709551616"}, 64, "0 to 18446744073709551615"},
                                   {{"--temprature", "1"}, 64, "did you mean '--temperature'"},
                                   {{"--config", path("tiny.textproto").string()}, 64, "has its own"},
                                   {{"--vocabulary", "none.bpe"}, 66, "none.bpe"},
                                   {{"--vocabulary", path("small.bpe").string()}, 78, "50257"}};
  for (const Case& bad : cases) {
    std::vector<std::string> arguments = {"--checkpoint", path("run").string(), "--prompt", "Once"};
    arguments.insert(arguments.end(), bad.more.begin(), bad.more.end());
    const Error error = error_of(generate_program, arguments);
    EXPECT_EQ(static_cast<int>(error.exit_code()), bad.exit_code) << bad.more[0] << " " << bad.more[1];
    EXPECT_THAT(error.what(), HasSubstr(bad.says));
  }
  const auto exit_code = [&](const std::string& source) {
    const std::vector<std::string> arguments = {"--checkpoint", path(source).string(), "--prompt", "x"};
    return static_cast<int>(error_of(generate_program, arguments).exit_code());
  };
  EXPECT_EQ(exit_code("nothing"), 66);
  EXPECT_EQ(exit_code("run/samples"), 66) << "a folder without checkpoints";
  EXPECT_EQ(exit_code("bad.safetensors"), 65);
  EXPECT_EQ(generate({"--prompt", "x"}).exit_code, 64);
  EXPECT_EQ(generate({"--help"}).exit_code, 0);
  EXPECT_THAT(generate({"--version"}).stdout_text, HasSubstr("LibTorch"));
}

TEST_F(TrainedProgramsTest, EvaluationAgreesWithTheTrainersValidation) {
  json validation;
  std::istringstream lines(test::read_text(path("run/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const json value = json::parse(line);
    if (value.contains("validation_loss")) validation = value;
  }
  const json result = eval({"--checkpoint", "run"});
  EXPECT_NEAR(result["loss"].get<double>(), validation["validation_loss"].get<double>(), 1e-9);
  EXPECT_NEAR(result["perplexity"].get<double>(), validation["perplexity"].get<double>(), 1e-3);
  EXPECT_NEAR(result["bits_per_byte"].get<double>(), validation["bits_per_byte"].get<double>(), 0.05);
}

// PADDED rows hold every token of every story, so all text counts but the first token of each.
TEST_F(TrainedProgramsTest, BytesAreThoseOfTheTargets) {
  const auto vocabulary = data::Vocabulary::load(test::vocabulary_file());
  data::TokenStore store(path("data"), data::kValidationSplit);
  double bytes = 0;
  std::uint64_t targets = 0;
  for (std::uint64_t story = 0; story < store.stories(); ++story) {
    std::vector<std::int64_t> ids(store.story(story).size);
    store.read(store.story(story).begin, ids);
    targets += ids.size() - 1;
    for (std::size_t i = 1; i + 1 < ids.size(); ++i)
      bytes += static_cast<double>(vocabulary.token_bytes(static_cast<std::uint32_t>(ids[i])).size());
  }
  const json result = eval({"--checkpoint", "run", "--mode", "PADDED"});
  EXPECT_EQ(result["tokens"].get<std::uint64_t>(), targets);
  EXPECT_EQ(result["text_bytes"].get<double>(), bytes);
  EXPECT_EQ(result["bytes_from"], "vocabulary");
  EXPECT_NEAR(result["bits_per_byte"].get<double>(),
              result["loss"].get<double>() * static_cast<double>(targets) / std::numbers::ln2 / bytes, 1e-9);
}

TEST_F(TrainedProgramsTest, ModesSplitsAndSourcesCanBeChosen) {
  const json packed = eval({"--checkpoint", "run"});
  EXPECT_LT(eval({"--checkpoint", "run", "--mode", "story"})["tokens"], packed["tokens"]);
  EXPECT_GT(eval({"--checkpoint", "run", "--split", "train"})["tokens"], packed["tokens"]);
  const test::ProgramResult text = trained_->call("kangpt_eval", {"--checkpoint", "run", "--data", "data"});
  EXPECT_THAT(text.stdout_text, HasSubstr("bits per byte"));
}

TEST_F(TrainedProgramsTest, EvaluationNamesWhatDoesNotFit) {
  const auto exit_code = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--checkpoint", path("run").string()});
    return static_cast<int>(error_of(eval_program, arguments).exit_code());
  };
  const std::string data = path("data").string();
  EXPECT_EQ(exit_code({}), 64) << "no data";
  EXPECT_EQ(exit_code({"--data", path("none").string()}), 66);
  EXPECT_EQ(exit_code({"--data", data, "--split", "test"}), 64);
  EXPECT_EQ(exit_code({"--data", data, "--mode", "rows"}), 64);
  test::write_text(path("other.bpe"), "#version: 0.2\nh e\n");
  EXPECT_EQ(exit_code({"--data", data, "--vocabulary", path("other.bpe").string()}), 65);
  ASSERT_EQ(trained_
                ->call("kangpt_preprocess", {"--input", "stories.txt", "--validation", "valid.txt", "--output", "other",
                                             "--vocabulary", "other.bpe"})
                .exit_code,
            0);
  EXPECT_EQ(exit_code({"--data", path("other").string()}), 78) << "another vocabulary than the model's";
  EXPECT_EQ(trained_->call("kangpt_eval", {"--checkpoint", "none", "--data", "data"}).exit_code, 66);
}

}  // namespace
}  // namespace kangpt::launcher
