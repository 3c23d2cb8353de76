#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/data_pipeline/preprocess/preprocess_fixture.hpp"

namespace kangpt::data {
namespace {

using ::testing::HasSubstr;

std::string gzipped(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstandard(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class PreprocessInputsTest : public PreprocessTest {
 protected:
  // The stories of `name` with this content.
  std::vector<std::vector<std::int64_t>> stories_of(const std::string& name, const std::string& content) {
    test::write_text(folder_ / name, content);
    const auto result = run({"--input", name, "--output", "out", "--force"});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return stories();
  }

  void expect_wrong(const std::string& name, const std::string& content, const std::string& message) {
    test::write_text(folder_ / name, content);
    expect_failure(run({"--input", name, "--output", "out", "--force"}), 65, message);
  }
};

TEST_F(PreprocessInputsTest, EveryFormatGivesTheSameStories) {
  constexpr std::uint64_t kStories = 4000;  // more than two blocks
  const std::string text = corpus(kStories);
  std::string lines;
  nlohmann::json array = nlohmann::json::array();
  for (std::uint64_t i = 0; i < kStories; ++i) {
    lines += nlohmann::json{{"id", i}, {i % 2 == 0 ? "story" : "text", make_story(1, i)}}.dump() + "\n\n";
    if (i % 3 == 0) {
      array.push_back(make_story(1, i) + "\n");
    } else {
      array.push_back({{"story", make_story(1, i)}, {"tags", {"[", "{\"", {{"deep", "}]"}}}}});
    }
  }
  const auto expected = stories_of("in.txt", text);
  ASSERT_EQ(expected.size(), kStories);
  EXPECT_TRUE(stories_of("in.txt.gz", gzipped(text)) == expected);
  EXPECT_TRUE(stories_of("parts.txt.gz", gzipped(text.substr(0, 100001)) + gzipped(text.substr(100001))) == expected);
  EXPECT_TRUE(stories_of("in.txt.zst", zstandard(text.substr(0, 77777)) + zstandard(text.substr(77777))) == expected);
  EXPECT_TRUE(stories_of("in.jsonl", lines) == expected);
  EXPECT_TRUE(stories_of("in.jsonl.zst", zstandard(lines)) == expected);
  EXPECT_TRUE(stories_of("in.json", array.dump()) == expected);
  EXPECT_TRUE(stories_of("pretty.json.gz", gzipped(array.dump(2))) == expected);
  EXPECT_TRUE(stories_of("objects.json", lines) == expected);
}

TEST_F(PreprocessInputsTest, CompressedStandardInputIsRecognised) {
  ASSERT_EQ(run({"--input", "-", "--output", "out"}, gzipped(corpus(9))).exit_code, 0);
  EXPECT_EQ(stories().size(), 9U);
}

TEST_F(PreprocessInputsTest, DirectoriesStandForTheirTextFilesByName) {
  test::write_text(folder_ / "texts" / "b.txt", "Second.");
  test::write_text(folder_ / "texts" / "a" / "x.jsonl", "{\"text\": \"First.\"}");
  test::write_text(folder_ / "texts" / "c.txt.gz", gzipped("Third."));
  test::write_text(folder_ / "texts" / "notes.md", "Not a story.");
  ASSERT_EQ(run({"--input", "texts", "--output", "out"}).exit_code, 0);
  EXPECT_THAT(stories(),
              ::testing::ElementsAre(expected_tokens("First."), expected_tokens("Second."), expected_tokens("Third.")));
  test::fs::create_directory(folder_ / "none");
  EXPECT_EQ(run({"--input", "none", "--output", "other"}).exit_code, 66);
}

TEST_F(PreprocessInputsTest, WhatIsLeftOutOfADirectoryIsNamed) {
  const test::fs::path texts = folder_ / "texts";
  test::write_text(texts / "A.TXT", "A.");
  test::write_text(texts / "b.JSONL", "{\"text\": \"B.\"}");
  test::write_text(texts / "c.txt.GZ", gzipped("C."));
  test::write_text(texts / "notes.md", "Not a story.");
  test::write_text(texts / ".git" / "x.txt", "Not a story.");
  test::write_text(texts / "real" / "r.txt", "R.");
  test::write_text(folder_ / "elsewhere" / "e.txt", "E.");
  test::fs::create_symlink("real", texts / "a_link");
  test::fs::create_symlink("../elsewhere", texts / "elsewhere");
  test::fs::create_symlink("..", texts / "real" / "loop");
  test::fs::create_symlink("../texts", folder_ / "elsewhere" / "back");
  test::fs::create_symlink("real/r.txt", texts / "d.txt");
  test::fs::create_hard_link(texts / "A.TXT", texts / "z.txt");
  ASSERT_EQ(::mkfifo((texts / "pipe.txt").c_str(), 0600), 0);
  const auto result = run({"--input", "texts", "--output", "texts/out"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(stories("texts/out"),
              ::testing::ElementsAre(expected_tokens("A."), expected_tokens("B."), expected_tokens("C."),
                                     expected_tokens("E."), expected_tokens("R.")));
  EXPECT_THAT(result.stdout_text, HasSubstr("left out of the folders: 8 files and folders"));
  EXPECT_THAT(result.stdout_text,
              HasSubstr("texts/.git (hidden), texts/a_link (the same as texts/real), texts/d.txt (the "
                        "same as texts/real/r.txt), texts/elsewhere/back (the same as texts), "
                        "texts/notes.md and 3 more"));
  const auto again = run({"--input", "texts", "--output", "texts/out"});
  EXPECT_THAT(again.stdout_text, HasSubstr("nothing to do"));
  EXPECT_THAT(again.stdout_text, HasSubstr("9 files"));  // the output too
}

TEST_F(PreprocessInputsTest, ALinkToNowhereIsMissingInput) {
  test::write_text(folder_ / "texts" / "a.txt", "A.");
  for (const std::string name : {"b.txt", "folder"}) {
    test::fs::create_symlink("nowhere", folder_ / "texts" / name);
    expect_failure(run({"--input", "texts", "--output", "out"}), 66, "texts/" + name + " is a link to nowhere");
    test::fs::remove(folder_ / "texts" / name);
  }
}

// By its own name, by a link, as a copy.
TEST_F(PreprocessInputsTest, AValidationFileIsNotTrainedOn) {
  test::write_text(folder_ / "texts" / "train.txt", "A one.");
  test::write_text(folder_ / "texts" / "valid.txt", "Held out.");
  test::write_text(folder_ / "texts" / "copy.txt", "Held out.");
  test::write_text(folder_ / "texts" / "same_size.txt", "Held on!!");
  test::fs::create_symlink("texts/valid.txt", folder_ / "link.txt");
  for (const std::string validation : {"texts/valid.txt", "link.txt"}) {
    const auto result = run({"--input", "texts", "--validation", validation, "--output", "out", "--force"});
    ASSERT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(stories(), ::testing::ElementsAre(expected_tokens("Held on!!"), expected_tokens("A one.")));
    EXPECT_THAT(result.stderr_text,
                HasSubstr("left out of training, since --validation names the same: texts/copy.txt"));
    EXPECT_THAT(result.stderr_text, HasSubstr("texts/valid.txt"));
  }
  const auto all = run({"--input", "link.txt", "--validation", "texts/valid.txt", "--output", "out", "--force"});
  ASSERT_EQ(all.exit_code, 0);
  EXPECT_THAT(all.stderr_text, HasSubstr("every input is a validation file too"));
}

TEST_F(PreprocessInputsTest, WhatIsReadTwiceIsSaid) {
  test::write_text(folder_ / "a.txt", "A.");
  test::write_text(folder_ / "a.txt.gz", gzipped("A."));
  const auto twice = run({"--input", "a.txt", "./a.txt", "--output", "out"});
  EXPECT_THAT(twice.stdout_text, HasSubstr("2 stories"));
  EXPECT_THAT(twice.stderr_text, HasSubstr("named more than once"));
  const auto both = run({"--input", "a.txt", "a.txt.gz", "--output", "out2"});
  EXPECT_THAT(both.stderr_text, HasSubstr("plain and compressed, and both are read: a.txt.gz"));
  const auto split = run({"--input", "a.txt", "--validation", "a.txt.gz", "--output", "out3"});
  EXPECT_THAT(split.stderr_text, HasSubstr("plain and compressed, and both are read: a.txt.gz"));
}

TEST_F(PreprocessInputsTest, SeparatorsWithinLinesAreSaidAndCanBeMadeToSeparate) {
  const std::string end = "<|endoftext|>";
  const std::vector<std::string> contents = {"Tom ran." + end + "\nMia sat." + end + "\nBob fell." + end + "\n",
                                             "Tom ran.\n" + end + "Mia sat.\n" + end + "Bob fell.",
                                             "Tom ran." + end + "Mia sat." + end + "Bob fell." + end,
                                             "Tom ran.\r" + end + "\rMia sat.\r" + end + "\rBob fell.\r"};
  for (const std::string& content : contents) {
    test::write_text(folder_ / "in.txt", content);
    const auto silent = run({"--input", "in.txt", "--output", "out", "--force"});
    EXPECT_THAT(silent.stderr_text, HasSubstr("NOTHING IS SEPARATED"));
    EXPECT_THAT(silent.stderr_text, HasSubstr("--separator anywhere"));
    EXPECT_THAT(silent.stdout_text, HasSubstr(" <|endoftext|> within the text"));
    const auto result = run({"--input", "in.txt", "--output", "out", "--force", "--separator", "anywhere"});
    EXPECT_EQ(result.stderr_text, "");
    EXPECT_THAT(stories(), ::testing::ElementsAre(expected_tokens("Tom ran."), expected_tokens("Mia sat."),
                                                  expected_tokens("Bob fell.")));
  }
  const auto other = run({"--input", "in.txt", "--output", "out"});
  EXPECT_EQ(other.exit_code, 64);
  EXPECT_THAT(other.stderr_text, HasSubstr("--separator anywhere"));  // in the command that made it
}

TEST_F(PreprocessInputsTest, OddTextIsCountedAndSaid) {
  test::write_text(folder_ / "in.txt",
                   "One.\n<|endoftext|>\n\xEF\xBB\xBFTwo.\n<|endoftext|>\n" + std::string(4096, '\0'));
  test::write_text(folder_ / "empty.txt.gz", "");
  const auto result = run({"--input", "in.txt", "empty.txt.gz", "--output", "out"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.stdout_text, HasSubstr("4,096 zero bytes, 1 byte order marks"));
  EXPECT_THAT(result.stderr_text,
              HasSubstr("zero bytes (NUL) are taken for text (the first in the story at byte 41 of in.txt)"));
  EXPECT_THAT(result.stderr_text, HasSubstr("begin with a byte order mark"));
  EXPECT_THAT(result.stderr_text, HasSubstr("no story in empty.txt.gz"));
  EXPECT_THAT(run({"show", "out"}).stdout_text, HasSubstr("4,096 zero bytes"));
  test::write_text(folder_ / "lines.txt", std::string(40, 'x') + corpus(4000));
  std::string one_story = test::read_text(folder_ / "lines.txt");
  for (std::size_t at = 0; (at = one_story.find("<|endoftext|>", at)) != std::string::npos;)
    one_story.replace(at, 13, "");
  test::write_text(folder_ / "lines.txt", one_story);
  EXPECT_THAT(run({"--input", "lines.txt", "--output", "out2"}).stderr_text, HasSubstr("each input is one story"));
}

TEST_F(PreprocessInputsTest, JsonThatIsReadAsTextIsSaid) {
  const auto lines = run({"--input", "-", "--output", "out"}, "{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n");
  EXPECT_THAT(lines.stderr_text, HasSubstr("(standard input) looks like JSON but is read as text"));
  const auto array = run({"--input", "-", "--output", "out", "--force"}, "[\n  {\"text\": \"One.\"}]");
  EXPECT_THAT(array.stderr_text, HasSubstr("looks like JSON"));
  const auto prose = run({"--input", "-", "--output", "out", "--force"}, "{Tom} ran [to {\"the\"} park].\n{\"");
  EXPECT_EQ(prose.stderr_text, "");
}

TEST_F(PreprocessInputsTest, InvalidRecordsFollowThePolicy) {
  std::string lines = "{\"text\": \"One.\"}\n{\"text\": \n{\"body\": \"b\"}\n{\"text\": 3}\n17\n{\"text\": \"Two.\"}\n";
  expect_wrong("in.jsonl", lines, "--invalid-records skip");
  test::write_text(folder_ / "in.jsonl", lines + std::string("x\n") + "x\nx\n");
  const auto result = run({"--input", "in.jsonl", "--output", "out", "--invalid-records", "skip"});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(stories(), ::testing::ElementsAre(expected_tokens("One."), expected_tokens("Two.")));
  EXPECT_THAT(result.stdout_text, HasSubstr("0 empty stories"));
  EXPECT_THAT(result.stdout_text, HasSubstr("7 records skipped"));
  EXPECT_THAT(result.stderr_text, HasSubstr("left out: input in.jsonl, line 2 (byte 25): syntax error"));
  EXPECT_THAT(result.stderr_text, HasSubstr("line 7"));
  EXPECT_THAT(result.stderr_text, ::testing::Not(HasSubstr("line 8")));
  test::write_text(folder_ / "all.jsonl", "x\ny\n");
  expect_failure(run({"--input", "all.jsonl", "--output", "out", "--force", "--invalid-records", "skip"}), 65,
                 "2 records skipped");
}

TEST_F(PreprocessInputsTest, TheKeyCanBeNamed) {
  test::write_text(folder_ / "in.jsonl", "{\"body\": \"Hello \\u00e9\\ud83d\\ude00.\", \"text\": \"no\"}\n");
  ASSERT_EQ(run({"--input", "in.jsonl", "--key", "body", "--output", "out"}).exit_code, 0);
  EXPECT_EQ(stories().at(0), expected_tokens("Hello \xC3\xA9\xF0\x9F\x98\x80."));
}

TEST_F(PreprocessInputsTest, DamagedInputsAreNamedWithThePlace) {
  const std::string packed = gzipped(corpus(100));
  std::string flipped = packed;
  flipped[flipped.size() / 2] ^= 0x55;
  expect_wrong("cut.txt.gz", packed.substr(0, packed.size() / 2), "cut.txt.gz ends in the middle");
  expect_wrong("flipped.txt.gz", flipped, "flipped.txt.gz is damaged");
  const std::string squeezed = zstandard(corpus(100));
  expect_wrong("cut.txt.zst", squeezed.substr(0, squeezed.size() / 2), "cut.txt.zst ends in the middle");
  expect_wrong("begun.txt.gz", packed.substr(0, 1), "begun.txt.gz is not compressed");
  expect_wrong("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", "the JSON is wrong in line 2 (byte 22)");
  expect_wrong("keys.jsonl", "{\"title\": \"a\", \"body\": \"b\"}\n", "its keys are: body, title");
  expect_wrong("type.jsonl", "{\"text\": 3}\n", "'text' is not a string");
  expect_wrong("number.jsonl", "17\n", "expected an object or a string, found number");
  expect_wrong("cut.json", "[{\"text\": \"a\"}, {\"text\": \"b", "missing closing quote");
  expect_wrong("open.json", "[{\"text\": \"a\"}, {\"text\": \"b\"}", "open.json ends in the middle");
  expect_wrong("prose.json", "once upon a time", "line 1 (byte 0): unexpected 'o'");
  expect_wrong("utf16.txt", std::string("\xFF\xFEh\0i\0", 6), "UTF-16");
}

TEST_F(PreprocessInputsTest, APipeIsReadOnce) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const auto run_with_pipe = [&](std::vector<std::string> more) {
    const std::jthread writer([&] { test::write_text(folder_ / "pipe", corpus(3)); });
    more.insert(more.end(), {"--input", "pipe", "--output", "out"});
    return run(more);
  };
  ASSERT_EQ(run_with_pipe({}).exit_code, 0);
  const auto again = run({"--input", "pipe", "--output", "out"});
  EXPECT_EQ(again.exit_code, 64);
  EXPECT_THAT(again.stderr_text, HasSubstr("--force"));
  EXPECT_EQ(run_with_pipe({"--force"}).exit_code, 0);
  EXPECT_EQ(stories().size(), 3U);
}

TEST_F(PreprocessInputsTest, WhatCannotBeOpenedIsNoInternalError) {
  test::fs::create_symlink("loop", folder_ / "loop");
  const auto loop = run({"--input", "loop", "--output", "out"});
  EXPECT_EQ(loop.exit_code, 74);
  EXPECT_THAT(loop.stderr_text, HasSubstr("cannot open input loop: Too many levels"));
}

TEST_F(PreprocessInputsTest, DuplicatesAreLeftOutAndCounted) {
  test::write_text(folder_ / "a.txt", corpus(50) + corpus(20));
  test::write_text(folder_ / "b.txt", corpus(60));
  const auto result = run({"--input", "a.txt", "b.txt", "--deduplicate", "--output", "out"});
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.stdout_text, HasSubstr("70 duplicates"));
  const auto found = stories();
  ASSERT_EQ(found.size(), 60U);
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(found[i], expected_tokens(make_story(1, i)));
}

}  // namespace
}  // namespace kangpt::data
