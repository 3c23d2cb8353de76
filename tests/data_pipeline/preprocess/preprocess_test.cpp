#include "tests/data_pipeline/preprocess/preprocess_fixture.hpp"

namespace kangpt::data {
namespace {

using ::testing::HasSubstr;

TEST_F(PreprocessTest, StoriesAreStrippedEncodedAndFollowedByEndOfText) {
  test::write_text(folder_ / "in.txt",
                   "\xEF\xBB\xBF  One day.\n\n<|endoftext|>\r\n \t \n<|endoftext|> \nTwo <|endoftext|> in a "
                   "line\r\nmore\n  <|endoftext|>\n\nLast, without a separator  \n");
  const auto result = run({"--input", "in.txt", "--output", "out"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.stdout_text, HasSubstr("3 stories"));
  EXPECT_THAT(result.stdout_text, HasSubstr("1 empty"));
  EXPECT_THAT(stories(), ::testing::ElementsAre(expected_tokens("One day."),
                                                expected_tokens("Two <|endoftext|> in a line\r\nmore"),
                                                expected_tokens("Last, without a separator")));
}

TEST_F(PreprocessTest, RealTextGivesTheIdsOfTheOracleStoryByStory) {
  const auto data = test::shared_data();
  if (!data) GTEST_SKIP() << "../shared/data is not there";
  const std::string train = (*data / "tinystories" / "train.txt").string();
  const std::string valid = (*data / "tinystories" / "valid.txt").string();
  ASSERT_EQ(run({"--input", train, "--validation", valid, "--output", "out"}).exit_code, 0);
  EXPECT_EQ(stories("out", kTrainSplit).size(), 11920U);
  EXPECT_EQ(stories("out", kValidationSplit).size(), 978U);
  for (const auto& [file, split] : {std::pair{train, kTrainSplit}, std::pair{valid, kValidationSplit}}) {
    const auto found = stories("out", split);
    std::string text = test::read_text(file);
    std::size_t story = 0;
    for (std::size_t end = text.find("<|endoftext|>"); end != std::string::npos; end = text.find("<|endoftext|>")) {
      std::string one = text.substr(0, end);
      one.erase(0, one.find_first_not_of(" \n"));
      one.erase(one.find_last_not_of(" \n") + 1);
      ASSERT_EQ(found.at(story++), expected_tokens(one)) << file;
      text.erase(0, end + 14);
    }
    EXPECT_EQ(story, found.size());
  }
}

TEST_F(PreprocessTest, AVocabularyOfTheTextIsMadeAndKept) {
  test::write_text(folder_ / "in.txt", corpus(3000));
  std::vector<std::map<std::string, std::string>> outputs;
  for (const std::string workers : {"1", "3"}) {
    const auto result =
        run({"--input", "in.txt", "--train-vocabulary", "400", "--workers", workers, "--output", "out" + workers});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    outputs.push_back(files("out" + workers));
  }
  EXPECT_TRUE(outputs[0] == outputs[1]);
  const Vocabulary own = Vocabulary::load(folder_ / "out1/tokenizer.json");
  EXPECT_EQ(own.size(), 400U);
  EXPECT_EQ(own.sha256(), open_manifest(folder_ / "out1").vocabulary_sha256);
  EXPECT_EQ(own.decode(stories("out1").at(7)), make_story(1, 7) + "<|endoftext|>");
  EXPECT_THAT(run({"show", "out1", "--story", "7"}).stdout_text, HasSubstr(make_story(1, 7)));
  EXPECT_THAT(run({"verify", "out1"}).stdout_text, HasSubstr("tokenizer.json: ok, 400 tokens"));
  const auto again = run({"--input", "in.txt", "--vocabulary", "out1/tokenizer.json", "--output", "again"});
  ASSERT_EQ(again.exit_code, 0) << again.all_output();
  EXPECT_EQ(stories("again"), stories("out1"));
  EXPECT_EQ(files("again").at("tokenizer.json"), outputs[0].at("tokenizer.json"));
}

TEST_F(PreprocessTest, AVocabularyOfTheTextNeedsATextThatCanBeReadTwice) {
  expect_failure(run({"--input", "-", "--train-vocabulary", "400", "--output", "out"}, corpus(3)), 64,
                 "reads --input twice, which standard input can't be");
  test::write_text(folder_ / "in.txt", corpus(1));
  expect_failure(run({"--input", "in.txt", "--train-vocabulary", "256", "--output", "out"}), 64, "257");
  expect_failure(run({"--input", "in.txt", "--train-vocabulary", "400", "--vocabulary", "x.json", "--output", "out"}),
                 64, "exclude each other");
  test::write_text(folder_ / "empty.txt", "\n<|endoftext|>\n");
  expect_failure(run({"--input", "empty.txt", "--train-vocabulary", "400", "--output", "out"}), 65, "holds no story");
  const auto few = run({"--input", "in.txt", "--train-vocabulary", "5000", "--output", "out"});
  EXPECT_EQ(few.exit_code, 0) << few.all_output();
  EXPECT_THAT(few.stderr_text, HasSubstr("not 5,000"));
}

TEST_F(PreprocessTest, TheOutputIsTheSameForAnyNumberOfWorkers) {
  test::write_text(folder_ / "in.txt", corpus(8000));  // several blocks
  test::write_text(folder_ / "valid.txt", corpus(10));
  const std::vector<std::string> common = {"--input",   "in.txt",         "in.txt", "--validation",
                                           "valid.txt", "--shard-tokens", "300000"};
  std::vector<std::map<std::string, std::string>> outputs;
  for (const std::string workers : {"1", "2", "7"}) {
    std::vector<std::string> arguments = common;
    arguments.insert(arguments.end(), {"--workers", workers, "--output", "out" + workers});
    ASSERT_EQ(run(arguments).exit_code, 0);
    outputs.push_back(files("out" + workers));
  }
  EXPECT_GT(outputs[0].size(), 5U);
  EXPECT_TRUE(outputs[0] == outputs[1]);
  EXPECT_TRUE(outputs[0] == outputs[2]);
}

TEST_F(PreprocessTest, VerifyFindsEveryFlippedTokenAndCutFile) {
  test::write_text(folder_ / "in.txt", corpus(300));
  ASSERT_EQ(run({"--input", "in.txt", "--output", "out"}).exit_code, 0);
  EXPECT_EQ(run({"verify", "out"}).exit_code, 0);
  const test::fs::path shard = folder_ / "out" / "train-00000.h5";
  const std::string good = test::read_text(shard);
  for (const std::size_t offset : {std::size_t{9}, std::size_t{9000}, good.size() / 2, good.size() - 1}) {
    test::flip_byte(shard, offset);
    const auto result = run({"verify", "out"});
    EXPECT_EQ(result.exit_code, 65) << offset;
    EXPECT_THAT(result.stderr_text, HasSubstr("train-00000.h5"));
    test::write_text(shard, good);
  }
  test::truncate_file(shard, good.size() / 2);
  EXPECT_EQ(run({"verify", "out"}).exit_code, 65);
  test::fs::remove(shard);
  EXPECT_EQ(run({"verify", "out"}).exit_code, 65);
  test::write_text(folder_ / "out" / kManifestName, "split {");
  EXPECT_EQ(run({"verify", "out"}).exit_code, 65);
}

TEST_F(PreprocessTest, ShowDecodesAStory) {
  test::write_text(folder_ / "in.txt", corpus(5));
  ASSERT_EQ(run({"--input", "in.txt", "--output", "out"}).exit_code, 0);
  const std::string shown = run({"show", "out"}).stdout_text;
  EXPECT_THAT(shown, HasSubstr("train: 5 stories"));
  EXPECT_THAT(shown, HasSubstr("128 to 255"));
  EXPECT_THAT(shown, HasSubstr("most frequent tokens: \".\""));
  EXPECT_THAT(shown, HasSubstr("story 2: \"" + make_story(1, 2).substr(0, 30)));
  EXPECT_EQ(run({"show", "out", "--story", "3"}).stdout_text, make_story(1, 3) + "\n");
  const auto result = run({"show", "out", "--story", "5"});
  EXPECT_EQ(result.exit_code, 64);
  EXPECT_THAT(result.stderr_text, HasSubstr("stories 0 to 4"));
}

// The first in the path, or the system's own, for which the set-up installs h5py. Empty: neither has it.
std::string python_with_h5py() {
  for (const std::string python : {"python3", "/usr/bin/python3"}) {
    if (test::run_program({python, "-c", "import h5py"}).exit_code == 0) return python;
  }
  return "";
}

TEST_F(PreprocessTest, H5pyReadsTheShards) {
  const std::string python = python_with_h5py();
  if (python.empty()) GTEST_SKIP() << "python3 has no h5py (apt-get install python3-h5py)";
  test::write_text(folder_ / "in.txt", corpus(5));
  ASSERT_EQ(run({"--input", "in.txt", "--output", "out"}).exit_code, 0);
  const std::string script =
      "import h5py; f = h5py.File('" + (folder_ / "out" / "train-00000.h5").string() +
      "'); print(f['tokens'].dtype, f['tokens'][:f['doc_offsets'][1]].tolist(), f.attrs['stories'])";
  const std::vector<std::int64_t> first_story = stories()[0];
  std::string expected = "uint16 [";
  for (const std::int64_t id : first_story) expected += (expected.back() == '[' ? "" : ", ") + std::to_string(id);
  EXPECT_THAT(test::run_program({python, "-c", script}).stdout_text, HasSubstr(expected + "] 5"));
}

TEST_F(PreprocessTest, StandardInputIsASource) {
  ASSERT_EQ(run({"--input", "-", "--output", "out"}, corpus(7)).exit_code, 0);
  EXPECT_EQ(stories().size(), 7U);
}

TEST_F(PreprocessTest, ASecondRunDoesNothingAndOtherDataIsNotOverwritten) {
  test::write_text(folder_ / "in.txt", corpus(5));
  test::write_text(folder_ / "other.txt", corpus(6));
  ASSERT_EQ(run({"--input", "in.txt", "--output", "out"}).exit_code, 0);
  const auto before = files("out");
  EXPECT_THAT(run({"--input", "in.txt", "--output", "out"}).stdout_text, HasSubstr("nothing to do"));
  const auto other = run({"--input", "other.txt", "--output", "out"});
  EXPECT_EQ(other.exit_code, 64);
  EXPECT_THAT(other.stderr_text, HasSubstr("--force"));
  EXPECT_TRUE(files("out") == before);
  EXPECT_EQ(run({"--input", "other.txt", "--output", "out", "--force"}).exit_code, 0);
  EXPECT_EQ(stories().size(), 6U);
}

TEST_F(PreprocessTest, InvalidUtf8FollowsThePolicy) {
  test::write_text(folder_ / "in.txt", "Good.\n<|endoftext|>\nBad \xFF\xFE byte\n<|endoftext|>\n");
  expect_failure(run({"--input", "in.txt", "--output", "out"}), 65, "invalid UTF-8 at byte 24 (0xFF)");
  const auto replaced = run({"--input", "in.txt", "--output", "out", "--invalid-utf8", "replace"});
  ASSERT_EQ(replaced.exit_code, 0) << replaced.all_output();
  EXPECT_THAT(replaced.stdout_text, HasSubstr("2 bytes replaced"));
  EXPECT_EQ(stories()[1], expected_tokens("Bad \xEF\xBF\xBD\xEF\xBF\xBD byte"));
}

TEST_F(PreprocessTest, WhatCannotBeReadIsNamed) {
  test::write_text(folder_ / "empty.txt", "");
  test::write_text(folder_ / "blank.txt", "\n\n<|endoftext|>\n");
  test::write_text(folder_ / "binary.bin", std::string("\x01\x00\x02\xFF\xFE\x00", 6) + std::string(2000, '\x80'));
  test::write_text(folder_ / "book.pdf", "%PDF-1.7");
  test::write_text(folder_ / "endless.txt", std::string(18000000, 'x'));
  expect_failure(run({"--input", "absent.txt", "--output", "out"}), 66, "absent.txt");
  expect_failure(run({"--input", "empty.txt", "--output", "out"}), 65, "empty.txt is empty");
  expect_failure(run({"--input", "blank.txt", "--output", "out"}), 65, "no story");
  expect_failure(run({"--input", "binary.bin", "--output", "out"}), 65, "binary file");
  expect_failure(run({"--input", "book.pdf", "--output", "out"}), 65, "PDF");
  expect_failure(run({"--input", "endless.txt", "--output", "out"}), 65, "longer than");
  expect_failure(run({"--input", "blank.txt", "--output", "out", "--vocabulary", "absent.bpe"}), 66, "absent.bpe");
  expect_failure(run({"--input", "blank.txt", "--output", "out", "--vocabulary", "blank.txt"}), 65, "blank.txt:3:");
}

TEST_F(PreprocessTest, WrongUsageIsExplained) {
  expect_failure(run({"--inptu", "x", "--output", "out"}), 64, "did you mean '--input'");
  expect_failure(run({"--output", "out"}), 64, "--input FILE... is missing");
  expect_failure(run({"--input", "x"}), 64, "--output DIR is missing");
  expect_failure(run({"--input", "x", "--output", "out", "--workers", "0"}), 64, "--workers");
  expect_failure(run({"--input", "x", "--output", "out", "--invalid-utf8", "drop"}), 64, "replace");
  EXPECT_EQ(run({"verify", "absent"}).exit_code, 66);
  EXPECT_EQ(run({"--help"}).exit_code, 0);
  EXPECT_EQ(run({"--version"}).exit_code, 0);
}

TEST_F(PreprocessTest, AnUnwritableOutputIsAnIoError) {
  test::write_text(folder_ / "in.txt", corpus(2));
  test::write_text(folder_ / "file", "in the way");
  expect_failure(run({"--input", "in.txt", "--output", "file/out"}), 74, "file/out");
  expect_failure(run({"--input", "in.txt", "--output", "/proc/out"}), 74, "/proc/out");
}

TEST_F(PreprocessTest, AnUnfinishedDirectoryNamesTheCommandThatFinishesIt) {
  test::write_text(folder_ / "in.txt", "Good.\n<|endoftext|>\nBad \xFF\n");
  run({"--input", "in.txt", "--output", "out"});
  const auto result = run({"show", "out"});
  EXPECT_EQ(result.exit_code, 66);
  EXPECT_THAT(result.stderr_text, HasSubstr("kangpt_preprocess --input in.txt --output out"));
}

}  // namespace
}  // namespace kangpt::data
