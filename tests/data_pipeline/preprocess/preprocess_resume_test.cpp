#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "tests/data_pipeline/preprocess/preprocess_fixture.hpp"
#include "tests/support/small_disk.hpp"

namespace kangpt::data {
namespace {

using ::testing::HasSubstr;

class PreprocessResumeTest : public PreprocessTest {
 protected:
  PreprocessResumeTest() {
    test::write_text(folder_ / "a.txt", corpus(3000));
    // With what is counted: separators within lines, zero bytes, a byte order mark.
    test::write_text(folder_ / "b.txt", corpus(2000) + "A <|endoftext|> b.\n<|endoftext|>\n\xEF\xBB\xBF" +
                                            corpus(1000) + std::string(3, '\0') + corpus(1000) + "C.<|endoftext|>\n");
    test::write_text(folder_ / "valid.txt", corpus(500));
  }

  std::vector<std::string> arguments(const std::string& output) const {
    std::vector<std::string> result = {"--input", "a.txt",    "b.txt", "--validation", "valid.txt", "--shard-tokens",
                                       "30000",   "--output", output,  "--workers",    "2"};
    result.insert(result.end(), extra_.begin(), extra_.end());
    return result;
  }

  // Starts the program and kills it after some time, or lets it end before. True if it was killed.
  bool run_and_kill(const std::string& output, double after_seconds) const {
    std::vector<std::string> argv = arguments(output);
    argv.insert(argv.begin(), test::program_path("kangpt_preprocess"));
    test::ProgramOptions options;
    options.working_directory = folder_.path();
    test::BackgroundProgram program(argv, options);
    std::this_thread::sleep_for(std::chrono::duration<double>(after_seconds));
    program.send_signal(SIGKILL);
    const test::ProgramResult result = program.wait();
    EXPECT_TRUE(result.signal == SIGKILL || result.exit_code == 0) << result.all_output();
    return result.signal == SIGKILL;
  }

  static ino_t inode(const test::fs::path& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  }

  // Kills runs at random moments until `kills` were killed; whatever a run left, the next one goes on from there.
  void kill_often(int kills) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(run(arguments("undisturbed")).exit_code, 0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto expected = files("undisturbed");
    std::mt19937_64 random(23);
    int killed = 0;
    for (int round = 0; killed < kills; ++round) {
      const std::string output = "out" + std::to_string(round);
      const test::fs::path first_shard = folder_ / output / "train-00000.h5";
      ino_t written = 0;
      while (run_and_kill(output, std::uniform_real_distribution(0.0, seconds)(random))) {
        ++killed;
        if (written == 0 && test::fs::exists(folder_ / output / kPartialManifestName)) {
          const Manifest partial = read_manifest(folder_ / output / kPartialManifestName);
          if (!partial.splits.empty()) written = inode(first_shard);
        }
      }
      ASSERT_TRUE(files(output) == expected) << "after " << killed << " kills";
      if (written != 0) {
        EXPECT_EQ(inode(first_shard), written) << "a finished shard was written again";
      }
      test::fs::remove_all(folder_ / output);
    }
  }

  std::vector<std::string> extra_;
};

TEST_F(PreprocessResumeTest, KilledAtAnyMomentItGoesOnToTheSameBytes) {
  kill_often(KANGPT_KILLS);
}

TEST_F(PreprocessResumeTest, SoItDoesWhileLeavingOutDuplicates) {
  extra_ = {"--deduplicate"};
  kill_often(KANGPT_KILLS / 2);
}

TEST_F(PreprocessResumeTest, SoItDoesWhileSkippingRecords) {
  std::string lines;
  for (std::uint64_t i = 0; i < 3000; ++i)
    lines += i % 7 == 0 ? "{\"text\": \n" : "{\"text\": \"" + make_story(2, i).substr(0, 40) + "\"}\n";
  test::write_text(folder_ / "c.jsonl", lines);
  extra_ = {"--input", "c.jsonl", "--invalid-records", "skip", "--separator", "anywhere"};
  kill_often(KANGPT_KILLS / 2);
}

// Leaves a directory with a few shards of the train split and no manifest.
TEST_F(PreprocessResumeTest, ASourceThatChangedMeanwhileIsNoticed) {
  ASSERT_EQ(run(arguments("done")).exit_code, 0);
  const auto interrupt = [this](std::uint64_t source, std::uint64_t block) {
    Manifest manifest = read_manifest(folder_ / "done" / kManifestName);
    manifest.splits.resize(1);
    for (SourceRecord& record : manifest.sources) record.sha256.clear();
    manifest.resume = ResumePoint{kTrainSplit, source, block, 0, "0123456789abcdef"};
    test::fs::remove_all(folder_ / "out");
    test::fs::copy(folder_ / "done", folder_ / "out");
    test::fs::remove(folder_ / "out" / kManifestName);
    test::write_text(folder_ / "out" / kPartialManifestName, to_text(manifest));
  };
  interrupt(1, 1);
  expect_failure(run(arguments("out")), 65, "b.txt has changed since");
  interrupt(1, 9);
  expect_failure(run(arguments("out")), 65, "b.txt has changed since");
  std::vector<std::string> again = arguments("out");
  again.push_back("--force");
  ASSERT_EQ(run(again).exit_code, 0);
  EXPECT_TRUE(files("out") == files("done"));
}

// An interrupted run, an edit, the same command: refused, or the bytes of a fresh run. Edits lie before, at and after
// the story where it goes on, change the size or not, and leave the time of the file as it was.
TEST_F(PreprocessResumeTest, AnEditAfterAnInterruptionNeverMixesOldTokensWithNewText) {
  const std::string good = corpus(4800);
  const auto command = [](const std::string& output) {
    return std::vector<std::string>{"--input", "in.txt", "--shard-tokens", "100000", "--output", output};
  };
  test::write_text(folder_ / "in.txt", good + "Bad \xFF.\n");  // stops it, with most shards written
  ASSERT_EQ(run(command("state")).exit_code, 65);
  const Manifest partial = read_manifest(folder_ / "state" / kPartialManifestName);
  ASSERT_GT(partial.resume.value().block, 0U);
  std::size_t resume_offset = 0;
  for (std::uint64_t i = 0; i < partial.splits.at(0).stories; ++i) resume_offset = good.find("|>\n", resume_offset) + 3;
  std::mt19937_64 random(41);
  std::vector<std::size_t> offsets = {0,
                                      (1 << 20) - 1,
                                      1 << 20,
                                      resume_offset - 30,
                                      resume_offset - 1,
                                      resume_offset + 1,
                                      good.size() - 1000,
                                      good.size() - 1};
  for (int i = 0; i < 12; ++i) offsets.push_back(random() % good.size());
  int accepted = 0;
  for (const std::size_t offset : offsets) {
    std::string edited = good + "Bad no more.\n";
    if (random() % 2 == 0)
      edited[offset] = edited[offset] == 'q' ? 'z' : 'q';
    else if (random() % 2 == 0)
      edited.insert(offset, "Oh!");
    else
      edited.erase(offset, 2);
    const auto time = test::fs::last_write_time(folder_ / "in.txt");
    test::write_text(folder_ / "in.txt", edited);
    test::fs::last_write_time(folder_ / "in.txt", time);
    test::fs::remove_all(folder_ / "out");
    test::fs::copy(folder_ / "state", folder_ / "out");
    const auto resumed = run(command("out"));
    // In the block where it goes on, an edit behind that story is refused too.
    if (offset < resume_offset || resumed.exit_code != 0) expect_failure(resumed, 65, "in.txt has changed since");
    if (resumed.exit_code != 0) continue;
    ++accepted;
    ASSERT_EQ(run(command("fresh" + std::to_string(offset))).exit_code, 0);
    EXPECT_TRUE(files("out") == files("fresh" + std::to_string(offset))) << "edit at " << offset;
  }
  EXPECT_GE(accepted, 2);
}

// The second source is a pipe, so that the first one has been read when the pipe is opened, and the run goes on until
// it is closed.
TEST_F(PreprocessResumeTest, ASourceThatChangesDuringTheRunIsNoticed) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const auto run_while = [this](const std::function<void()>& change) {
    test::write_text(folder_ / "in.txt", corpus(50));
    test::fs::remove_all(folder_ / "out");
    const std::jthread writer([&] {
      std::ofstream pipe(folder_ / "pipe");
      change();
      pipe << corpus(1);
    });
    return run({"--input", "in.txt", "pipe", "--output", "out"});
  };
  const auto with_time_kept = [this](const std::string& text) {
    const auto time = test::fs::last_write_time(folder_ / "in.txt");
    test::write_text(folder_ / "in.txt", text);
    test::fs::last_write_time(folder_ / "in.txt", time);
  };
  std::string same_size = corpus(50);
  same_size[1000] ^= 1;
  const std::string message = "in.txt was changed while it was being prepared";
  expect_failure(run_while([&] { with_time_kept(same_size); }), 65, message);
  expect_failure(run_while([&] { with_time_kept(corpus(50) + "More.\n"); }), 65, message);
  expect_failure(run_while([&] {
                   test::write_text(folder_ / "new.txt", same_size);
                   test::fs::rename(folder_ / "new.txt", folder_ / "in.txt");
                 }),
                 65, message);
  EXPECT_EQ(run_while([&] { test::write_text(folder_ / "in.txt", corpus(50)); }).exit_code, 0);  // the same again
  EXPECT_EQ(run_while([&] { test::fs::remove(folder_ / "in.txt"); }).exit_code, 0);  // what is gone can't mislead
}

TEST_F(PreprocessResumeTest, AnEditAtAnyMomentOfARunIsRefusedOrAsIfBeforeOrAfter) {
  const std::string before = corpus(20000);
  std::string after = before;
  after[after.size() / 2] ^= 1;
  const auto prepare = [this](const std::string& output) {
    return run({"--input", "in.txt", "--output", output}).exit_code;
  };
  test::write_text(folder_ / "in.txt", after);
  ASSERT_EQ(prepare("after"), 0);
  const auto start = std::chrono::steady_clock::now();
  test::write_text(folder_ / "in.txt", before);
  ASSERT_EQ(prepare("before"), 0);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::mt19937_64 random(43);
  for (int round = 0; round < 8; ++round) {
    test::write_text(folder_ / "in.txt", before);
    test::fs::remove_all(folder_ / "out");
    std::jthread editor([&, wait = std::uniform_real_distribution(0.0, seconds)(random)] {
      std::this_thread::sleep_for(std::chrono::duration<double>(wait));
      std::fstream file(folder_ / "in.txt", std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>(after.size() / 2)).put(after[after.size() / 2]);
    });
    const int code = prepare("out");
    editor.join();
    ASSERT_TRUE(code == 0 || code == 65) << code;
    if (code == 0) {
      EXPECT_TRUE(files("out") == files("before") || files("out") == files("after"));
    }
  }
}

TEST_F(PreprocessResumeTest, AChangedSourceOfAFinishedDirectoryIsNoticed) {
  ASSERT_EQ(run(arguments("out")).exit_code, 0);
  test::flip_byte(folder_ / "b.txt", 1000);
  const auto result = run(arguments("out"));
  EXPECT_EQ(result.exit_code, 64);
  EXPECT_THAT(result.stderr_text, HasSubstr("sources have changed"));
}

TEST_F(PreprocessResumeTest, ADamagedShardOfAnUnfinishedRunIsMadeAgain) {
  ASSERT_EQ(run(arguments("out")).exit_code, 0);
  const auto expected = files("out");
  Manifest manifest = read_manifest(folder_ / "out" / kManifestName);
  manifest.splits.resize(1);
  manifest.resume = ResumePoint{kTrainSplit, 1, 0, 0, "0000000000000000"};
  test::write_text(folder_ / "out" / kPartialManifestName, to_text(manifest));
  test::fs::remove(folder_ / "out" / kManifestName);
  test::flip_byte(folder_ / "out" / "train-00001.h5", 5000);
  const auto result = run(arguments("out"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.stderr_text, HasSubstr("starting over"));
  EXPECT_TRUE(files("out") == expected);
}

TEST_F(PreprocessResumeTest, TwoProgramsDoNotWriteOneDirectory) {
  test::ProgramOptions options;
  options.working_directory = folder_.path();
  test::fs::create_directory(folder_ / "out");
  // Waits for standard input, which stays open, with the directory locked.
  test::BackgroundProgram first(
      {"sh", "-c", "sleep 20 | " + test::program_path("kangpt_preprocess") + " --input - --output out"}, options);
  for (int i = 0; i < 500 && !test::fs::exists(folder_ / "out" / kPartialManifestName); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto second = run({"--input", "a.txt", "--output", "out"});
  EXPECT_EQ(second.exit_code, 74);
  EXPECT_THAT(second.stderr_text, HasSubstr("another kangpt_preprocess"));
}

TEST_F(PreprocessResumeTest, AFullDiskKeepsWhatWasFinishedAndTheRunCanGoOn) {
  const test::fs::path small = folder_ / "small";
  if (!test::mount_small_disk(small, "900k")) GTEST_SKIP() << "no right to mount a tmpfs here";
  const auto full = run(arguments("small/out"));
  test::resize_disk(small, "100m");
  const auto resumed = run(arguments("small/out"));
  const auto made = test::fs::exists(folder_ / "small" / "out" / kManifestName) ? files("small/out")
                                                                                : std::map<std::string, std::string>();
  test::unmount(small);
  EXPECT_EQ(full.exit_code, 74) << full.all_output();
  EXPECT_THAT(full.stderr_text, HasSubstr("HDF5 failed"));  // noticed where it happened
  EXPECT_THAT(full.stderr_text, HasSubstr("No space left on device"));
  EXPECT_THAT(full.stderr_text, HasSubstr("the same command goes on"));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.all_output();
  EXPECT_THAT(resumed.stderr_text, HasSubstr("going on after train-"));
  ASSERT_EQ(run(arguments("undisturbed")).exit_code, 0);
  EXPECT_TRUE(made == files("undisturbed"));
}

}  // namespace
}  // namespace kangpt::data
