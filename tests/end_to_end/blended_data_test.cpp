// A run on a blend of two data directories has the same bits for any number of ranks, and after a stop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/inotify.h>

#include "base/unique_fd.hpp"
#include "data_pipeline/shards/manifest.hpp"
#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Counts how often a file is opened from now on, by whomever.
class OpenCounter {
 public:
  // Closings are asked for too: the kernel makes one event of two alike in a row.
  explicit OpenCounter(const fs::path& file) : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    EXPECT_GE(::inotify_add_watch(fd_.value(), file.c_str(), IN_OPEN | IN_CLOSE), 0) << file;
  }

  int count() {
    inotify_event event{};  // that of a watched file holds no name
    while (::read(fd_.value(), &event, sizeof event) > 0) count_ += (event.mask & IN_OPEN) != 0 ? 1 : 0;
    return count_;
  }

 private:
  base::UniqueFd fd_;
  int count_ = 0;
};

class BlendedData : public ::testing::Test {
 protected:
  BlendedData() {
    EXPECT_EQ(workspace_.call("kangpt_stories", {"--bytes", "30000", "--seed", "3", "--output", "more.txt"}).exit_code,
              0);
    EXPECT_EQ(workspace_
                  .call("kangpt_preprocess", {"--input", "more.txt", "--validation", "valid.txt", "--output", "more",
                                              "--vocabulary", vocabulary_file().string()})
                  .exit_code,
              0);
    const std::string one = "directory: \"data\"";
    std::string config = read_text(workspace_.path() / "tiny.textproto");
    config.replace(config.find(one), one.size(),
                   "source { directory: \"data\" weight: 0.3 } source { directory: \"more\" weight: 0.7 }");
    write_text(workspace_.path() / "tiny.textproto", config);
  }

  Workspace workspace_;
};

TEST_F(BlendedData, GivesTheSameBitsForAnyNumberOfRanksAndAfterAStop) {
  const std::vector<std::string> settings = {"train.steps=40"};
  ASSERT_EQ(workspace_.train(1, "one", settings).exit_code, 0);
  const ProgramOptions options{.working_directory = workspace_.path(), .timeout_seconds = kTrainingTimeoutSeconds};
  BackgroundProgram program(workspace_.training_command(2, "two", settings), options);
  ASSERT_TRUE(program.wait_for_output("step 1/40"));
  program.send_signal(SIGUSR1);
  ASSERT_EQ(program.wait().exit_code, 75);
  const ProgramResult resumed = workspace_.train(2, "two", settings);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.all_output();
  EXPECT_THAT(resumed.stderr_text, HasSubstr("going on from"));
  EXPECT_EQ(workspace_.digest("one").size(), 64U);
  EXPECT_EQ(workspace_.digest("two"), workspace_.digest("one"));
  EXPECT_EQ(workspace_.losses("two"), workspace_.losses("one"));
}

TEST_F(BlendedData, IsOpenedOnceByEachAgentAndEachWorker) {
  OpenCounter one(workspace_.path() / "data" / data::kManifestName);
  OpenCounter other(workspace_.path() / "more" / data::kManifestName);
  ASSERT_EQ(workspace_.train(1, "run", {"train.steps=2", "log.validation_interval_steps=1"}).exit_code, 0);
  EXPECT_EQ(one.count(), 2);
  EXPECT_EQ(other.count(), 2);
  ASSERT_EQ(workspace_.call("kangpt_dist", {"--config", "tiny.textproto", "--plan"}).exit_code, 0);
  EXPECT_EQ(one.count(), 3);
  EXPECT_EQ(other.count(), 3);
}

TEST_F(BlendedData, GoesOnWithOtherWeightsOnlyWhenToldTo) {
  ASSERT_EQ(workspace_.train(1, "run", {"train.steps=4"}).exit_code, 0);
  std::string config = read_text(workspace_.path() / "tiny.textproto");
  config.replace(config.find("0.3"), 3, "0.4");
  write_text(workspace_.path() / "tiny.textproto", config);
  const ProgramResult refused = workspace_.train(1, "run", {"train.steps=6"});
  EXPECT_EQ(refused.exit_code, 78);
  EXPECT_THAT(refused.stderr_text, HasSubstr("data.accept_changed=true"));
  const ProgramResult accepted = workspace_.train(1, "run", {"train.steps=6", "data.accept_changed=true"});
  EXPECT_EQ(accepted.exit_code, 0) << accepted.all_output();
  EXPECT_THAT(accepted.stderr_text, HasSubstr("training data changes from "));
  EXPECT_THAT(accepted.stderr_text, Not(HasSubstr("validation data"))) << "weights mean nothing there";
}

}  // namespace
}  // namespace kangpt::test
