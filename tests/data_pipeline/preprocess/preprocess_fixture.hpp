// Runs the program kangpt_preprocess in a folder of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data_pipeline/shards/dataset.hpp"
#include "data_pipeline/text/story_generator.hpp"
#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "tests/data_pipeline/tokenizer/encoding_oracle.hpp"
#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::data {

class PreprocessTest : public ::testing::Test {
 protected:
  test::ProgramResult run(std::vector<std::string> arguments, const std::string& stdin_text = {}) const {
    arguments.insert(arguments.begin(), test::program_path("kangpt_preprocess"));
    test::ProgramOptions options;
    options.working_directory = folder_.path();
    options.stdin_text = stdin_text;
    return test::run_program(arguments, options);
  }

  void expect_failure(const test::ProgramResult& result, int exit_code, const std::string& message) const {
    EXPECT_EQ(result.exit_code, exit_code) << result.all_output();
    EXPECT_THAT(result.stderr_text, ::testing::HasSubstr(message));
    EXPECT_FALSE(test::fs::exists(folder_ / "out" / kManifestName));
  }

  static std::string corpus(std::uint64_t stories) {
    std::string text;
    for (std::uint64_t i = 0; i < stories; ++i) text += make_story(1, i) + "\n<|endoftext|>\n";
    return text;
  }

  // Tokens of each story of the train split.
  std::vector<std::vector<std::int64_t>> stories(const std::string& directory = "out",
                                                 const std::string& split = kTrainSplit) const {
    TokenStore store(folder_ / directory, split);
    std::vector<std::vector<std::int64_t>> result;
    for (std::uint64_t i = 0; i < store.stories(); ++i) {
      const TokenStore::TokenRange range = store.story(i);
      result.emplace_back(range.size);
      store.read(range.begin, result.back());
    }
    return result;
  }

  std::vector<std::int64_t> expected_tokens(const std::string& story) const {
    const auto ids = test::encode_by_the_book(vocabulary_, story);
    std::vector<std::int64_t> tokens(ids.begin(), ids.end());
    tokens.push_back(50256);
    return tokens;
  }

  std::map<std::string, std::string> files(const std::string& directory) const {
    std::map<std::string, std::string> contents;
    for (const auto& entry : test::fs::directory_iterator(folder_ / directory))
      contents[entry.path().filename()] = test::read_text(entry.path());
    return contents;
  }

  test::TemporaryDirectory folder_;
  Vocabulary vocabulary_ = Vocabulary::load(test::vocabulary_file());
};

}  // namespace kangpt::data
