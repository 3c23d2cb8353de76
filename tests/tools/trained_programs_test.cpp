// kangpt_generate and kangpt_eval on a small trained run.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <sstream>

#include "base/error.hpp"
#include "data_pipeline/batches/batches.hpp"
#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "io/safetensors.hpp"
#include "tests/end_to_end/training_run.hpp"
#include "tools/evaluation/eval_program.hpp"
#include "tools/generation/generate_program.hpp"

namespace kangpt::tools {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
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
  // The weights of `source` in a file of that name, with the same metadata.
  static void export_changed(const std::string& source, const std::string& file,
                             const std::function<void(std::map<std::string, std::vector<float>>&)>& change) {
    ASSERT_EQ(trained_->call("kangpt_checkpoint", {"export", "--output", file, source}).exit_code, 0);
    std::map<std::string, std::vector<float>> values;
    std::vector<io::TensorToWrite> tensors;
    const io::SafetensorsFile exported(path(file));
    for (const auto& [name, tensor] : exported.tensors()) {
      values[name].resize(tensor.bytes.size() / sizeof(float));
      exported.read(name, tensor.shape, values[name]);
      tensors.push_back({name, tensor.shape, values[name]});
    }
    change(values);
    io::write_safetensors(path(file), tensors, exported.metadata());
  }
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

TEST_F(TrainedProgramsTest, OfAPromptThatIsTooLongItIsSaidHowMuchCounts) {
  const auto warnings_of = [&](const std::string& prompt) {
    return generate({"--checkpoint", "run", "--prompt", prompt, "--tokens", "1"}).stderr_text;
  };
  const std::string sixteen = " a a a a a a a a a a a a a a a a";
  EXPECT_THAT(warnings_of(sixteen), Not(HasSubstr("warning")));
  EXPECT_THAT(warnings_of(" b b b" + sixteen), HasSubstr("the prompt has 19 tokens, and the network sees 16 at a time: "
                                                         "the first 3 have no influence"));
  const test::ProgramResult plan =
      trained_->call("kangpt_dist", {"--config", "tiny.textproto", "--plan", "--set", "log.sample_interval_steps=1",
                                     "--set", "data.mode=STORY", "--set", "log.sample_prompt=" + sixteen});
  EXPECT_THAT(plan.stdout_text, HasSubstr("log.sample_prompt has 16 tokens, and the network sees 15 at a time"));
}

// The way in which others start from nothing.
TEST_F(TrainedProgramsTest, EndOfTextInAPromptIsThatToken) {
  const auto of = [&](const std::string& prompt) {
    return generate({"--checkpoint", "run", "--prompt", prompt, "--tokens", "12", "--temperature", "0"});
  };
  const test::ProgramResult token = of("<|endoftext|>");
  EXPECT_EQ(token.exit_code, 0) << token.stderr_text;
  EXPECT_EQ(token.stdout_text, of("").stdout_text);
  EXPECT_THAT(token.stderr_text, HasSubstr("<|endoftext|> in the prompt is taken as the token"));
  const auto vocabulary = data::Vocabulary::load(test::vocabulary_file());
  const std::int64_t end = vocabulary.end_of_text();
  const auto tokens = [&](const std::string& prompt) { return prompt_tokens(vocabulary, prompt); };
  EXPECT_THAT(tokens(""), ElementsAre(end));
  EXPECT_THAT(tokens("<|endoftext|>"), ElementsAre(end));
  const std::vector<std::int64_t> once = tokens("Once"), period = tokens("The end.");
  EXPECT_THAT(tokens("<|endoftext|><|endoftext|>Once"), ElementsAre(end, end, once[0]));
  EXPECT_THAT(tokens("The end.<|endoftext|>Once"), ElementsAre(period[0], period[1], period[2], end, once[0]));
  EXPECT_EQ(std::ranges::count(tokens("<|endoftext|<|endoftext"), end), 0) << "not all of it";
  EXPECT_EQ(prompt_text(vocabulary, "<|endoftext|>Once"), "Once");
  EXPECT_EQ(prompt_text(vocabulary, "The end.<|endoftext|>Once"), "The end.<|endoftext|>Once");
}

// In STORY mode a row's last token is predicted only, so that the last position never was an input: whatever its
// embedding is, nothing may depend on it.
TEST_F(TrainedProgramsTest, NetworksTrainedOnStoriesAreNeverShownTheirLastPosition) {
  const test::ProgramResult trained = trained_->train(
      1, "story", {"data.mode=STORY", "train.steps=4", "train.logical_shards=1", "log.sample_interval_steps=4"});
  ASSERT_EQ(trained.exit_code, 0) << trained.all_output();
  const auto spoil = [](std::map<std::string, std::vector<float>>& values) {
    std::vector<float>& rows = values.at("position_embedding.weight");
    std::fill(rows.end() - static_cast<long>(rows.size() / 16), rows.end(), 1000.0F);
  };
  export_changed("story", "story.safetensors", spoil);
  export_changed("run", "packed.safetensors", spoil);
  const auto text = [&](const std::string& source) {
    return generate({"--checkpoint", source, "--prompt", "Once", "--tokens", "40", "--seed", "3"}).stdout_text;
  };
  EXPECT_EQ(text("story.safetensors"), text("story"));
  EXPECT_NE(text("packed.safetensors"), text("run")) << "there it is trained";
  const json packed = eval({"--checkpoint", "story", "--mode", "packed"});
  const json spoilt = eval({"--checkpoint", "story.safetensors", "--mode", "packed"});
  EXPECT_NEAR(spoilt["loss"].get<double>(), packed["loss"].get<double>(), 1e-9);
  const std::uint64_t tokens = data::dataset_facts(path("data"), data::kValidationSplit).tokens;
  EXPECT_EQ(packed["tokens"], (tokens - 1) / 15 * 15);
  EXPECT_EQ(eval({"--checkpoint", "run"})["tokens"], (tokens - 1) / 16 * 16);
  EXPECT_EQ(eval({"--checkpoint", "story.safetensors"})["mode"], "story") << "the file says how it was trained";
  EXPECT_EQ(generate({"--checkpoint", "story", "--prompt", "Once upon a time", "--tokens", "16", "--temperature", "0.8",
                      "--top-k", "0", "--top-p", "0.95"})
                .stdout_text,
            test::read_text(path("story/samples/step-0000000004.txt")));
}

TEST_F(TrainedProgramsTest, AnExportedFileSaysTheSameAsItsRun) {
  ASSERT_EQ(trained_->call("kangpt_checkpoint", {"export", "--output", "w.safetensors", "run"}).exit_code, 0);
  const auto of = [&](const std::string& source) {
    return generate({"--checkpoint", source, "--prompt", "Once", "--tokens", "12"}).stdout_text;
  };
  EXPECT_EQ(of("w.safetensors"), of("run"));
  EXPECT_EQ(of("run/checkpoints/step-0000000006"), of("run"));
  EXPECT_NE(of("run/checkpoints/step-0000000003"), of("run"));
  ASSERT_EQ(
      trained_->call("kangpt_checkpoint", {"export", "--format", "huggingface", "--output", "hf", "run"}).exit_code, 0);
  EXPECT_EQ(of("hf"), of("run"));
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
  EXPECT_EQ(exit_code("run/checkpoints/step-0000000006/state-00-of-02.h5"), 66);
  EXPECT_EQ(exit_code("tiny.textproto"), 65);
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
  EXPECT_NEAR(result["bits_per_byte"].get<double>(), validation["bits_per_byte"].get<double>(), 1e-6);
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
  const auto message = [&](const std::string& given) {
    const Error error = error_of(eval_program, {"--checkpoint", path("run").string(), "--data", path(given).string()});
    EXPECT_EQ(static_cast<int>(error.exit_code()), 66) << error.what();
    return std::string(error.what());
  };
  EXPECT_THAT(message("stories.txt"), HasSubstr("kangpt_preprocess --input " + path("stories.txt").string() +
                                                " --output " + path("stories").string()));
  test::write_text(path("data.jsonl"), "{}");
  EXPECT_THAT(message("data.jsonl"), HasSubstr("--output " + path("data-tokens").string())) << "data is taken";
  EXPECT_THAT(message("data/train-00000.h5"), HasSubstr("name the directory: " + path("data").string()));
  EXPECT_THAT(message("run"), HasSubstr("holds a trained network, no training data"));
  EXPECT_THAT(message("run/checkpoints/step-0000000006"), HasSubstr("is a checkpoint, no training data"));
  test::write_text(path("texts/a.txt"), "text");
  EXPECT_THAT(message("texts"), HasSubstr("--output " + path("texts-tokens").string()));
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
}  // namespace kangpt::tools
