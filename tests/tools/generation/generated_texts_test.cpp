// kangpt_generate with several prompts, as JSON, and from standard input.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "data_pipeline/tokenizer/prompt.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "tests/end_to_end/training_run.hpp"

namespace kangpt::tools {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class GeneratedTextsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    trained_ = std::make_unique<test::Workspace>();
    const test::ProgramResult result = trained_->train(1, "run", {"train.steps=4", "model.feed_forward=HYBRID"});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
  }
  static void TearDownTestSuite() { trained_.reset(); }

  static test::ProgramResult generate(std::vector<std::string> arguments) {
    return trained_->call("kangpt_generate", std::move(arguments));
  }
  static test::fs::path path(const std::string& name) { return trained_->path() / name; }

  static inline std::unique_ptr<test::Workspace> trained_;
};

// As JSON says it: a few steps teach no UTF-8, and a byte that is none is U+FFFD there.
std::string in_json(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

// Both beyond the window of 16 tokens.
TEST_F(GeneratedTextsTest, SeveralPromptsGrowTogetherAsIfEachWereAlone) {
  const std::vector<std::string> common = {"--checkpoint", "run", "--tokens", "20", "--seed", "3"};
  const auto text_of = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    const test::ProgramResult result = generate(more);
    EXPECT_EQ(result.exit_code, 0) << result.stderr_text;
    EXPECT_THAT(result.stderr_text, HasSubstr(" tokens/s"));
    return result.stdout_text;
  };
  const std::string cat = text_of({"--prompt", "The cat"}), dog = text_of({"--prompt", "The dog and the bird"});
  const std::string both = text_of({"--prompt", "The cat", "--prompt", "The dog and the bird"});
  EXPECT_EQ(both, "--- prompt 1 of 2 (seed 3) ---\n" + cat + "\n--- prompt 2 of 2 (seed 3) ---\n" + dog);
  std::istringstream lines(
      text_of({"--prompt", "The cat", "--prompt", "The dog and the bird", "--count", "2", "--json"}));
  std::vector<json> texts;
  for (std::string line; std::getline(lines, line);) texts.push_back(json::parse(line));
  ASSERT_EQ(texts.size(), 4U);
  EXPECT_EQ("The cat" + texts[0]["text"].get<std::string>() + "\n", in_json(cat));
  EXPECT_EQ("The dog and the bird" + texts[2]["text"].get<std::string>() + "\n", in_json(dog));
  EXPECT_EQ(texts[3]["seed"], 4);
  EXPECT_EQ(texts[1]["prompt"], "The cat");
  const auto vocabulary = data::Vocabulary::load(test::vocabulary_file());
  for (const json& text : texts) {
    const auto ids = text["ids"].get<std::vector<std::int64_t>>();
    EXPECT_EQ(text["end"] == "tokens", ids.size() == 20) << text;
    EXPECT_EQ(in_json(vocabulary.decode(ids)), text["text"]);
    EXPECT_EQ(text["prompt_ids"], data::prompt_tokens(vocabulary, text["prompt"].get<std::string>()));
  }
}

TEST_F(GeneratedTextsTest, PromptsComeFromStandardInputToo) {
  test::write_text(path("input.txt"), "Once\n");
  test::write_text(path("lines.txt"), "Once\n\nThe cat\n");
  const auto with_input = [&](const std::string& file, const std::string& options) {
    const test::ProgramResult result = test::run_program(
        {"sh", "-c", test::program_path("kangpt_generate") + " --checkpoint run --tokens 12 " + options + " < " + file},
        trained_->options());
    EXPECT_EQ(result.exit_code, 0) << result.stderr_text;
    return result.stdout_text;
  };
  const auto alone = [&](const std::string& prompt, const std::string& seed) {
    return generate({"--checkpoint", "run", "--tokens", "12", "--prompt", prompt, "--seed", seed}).stdout_text;
  };
  EXPECT_EQ(with_input("input.txt", "--prompt -"), alone("Once", "1"));
  EXPECT_EQ(with_input("lines.txt", "--interactive"), alone("Once", "1") + alone("", "2") + alone("The cat", "3"));
  EXPECT_EQ(with_input("/dev/null", "--interactive"), "");
  EXPECT_EQ(generate({"--checkpoint", "run", "--prompt", "x", "--interactive"}).exit_code, 64);
  EXPECT_EQ(generate({"--checkpoint", "run", "--prompt", "-", "--prompt", "-"}).exit_code, 64);
}

}  // namespace
}  // namespace kangpt::tools
