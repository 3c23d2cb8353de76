// What a job does where files can't be read: by all ranks, or on the machine of one alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kEveryRank = "";
constexpr const char* kConstant = "optimizer.schedule=CONSTANT";  // whatever the number of steps
const std::vector<std::string> kWhole = {"train.steps=16", kConstant};

class UnreadableDisk : public SharedWorkspace<Corpus::kTokens> {
 protected:
  static void SetUpTestSuite() {
    SharedWorkspace::SetUpTestSuite();
    ASSERT_EQ(job_->train(2, "undisturbed", kWhole).exit_code, 0);
    ASSERT_EQ(job_->train(2, "short", {kConstant}).exit_code, 0);  // checkpoints of steps 4, 8 and 12
  }

  // A run that has come to step 12.
  static void begin(const std::string& name) {
    fs::copy(job_->run("short"), job_->run(name), fs::copy_options::recursive);
  }

  // Goes on to step 16 while paths with `part` in them can't be read on `rank`.
  static ProgramResult go_on(int ranks, const std::string& name, const std::string& part, const std::string& rank) {
    ProgramOptions options = job_->options();
    options.environment["LD_PRELOAD"] = KANGPT_UNREADABLE_FILE;
    options.environment["ASAN_OPTIONS"] = "verify_asan_link_order=0";
    options.environment["KANGPT_UNREADABLE"] = part;
    if (rank != kEveryRank) options.environment["KANGPT_UNREADABLE_RANK"] = rank;
    BackgroundProgram program(job_->training_command(ranks, name, kWhole), options);
    return job_->finish(program);
  }
};

struct Case {
  int ranks;
  const char* rank;
  const char* part;
};

class UnreadableCheckpoint : public UnreadableDisk, public ::testing::WithParamInterface<Case> {};

TEST_P(UnreadableCheckpoint, TheOneBeforeIsTakenByAllAndTheBitsAreTheSame) {
  const auto [ranks, rank, part] = GetParam();
  const std::string name = "from-8-" + std::to_string(ranks) + std::string(rank);
  begin(name);
  const ProgramResult result = go_on(ranks, name, part, rank);
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  EXPECT_THAT(result.stderr_text, AllOf(HasSubstr("Input/output error"), HasSubstr("left where it is"),
                                        HasSubstr("computed again"), ContainsRegex("going on from [^ ]*0000000008")));
  EXPECT_EQ(job_->digest(name), job_->digest("undisturbed"));
  EXPECT_EQ(job_->losses(name), job_->losses("undisturbed"));
  EXPECT_FALSE(fs::exists(job_->run(name) / "checkpoints" / "quarantine"));
}

INSTANTIATE_TEST_SUITE_P(Ranks, UnreadableCheckpoint,
                         ::testing::Values(Case{1, kEveryRank, "step-0000000012/manifest"},
                                           Case{2, kEveryRank, "step-0000000012/state-01"},
                                           Case{2, "1", "step-0000000012/"}, Case{4, "3", "step-0000000012/state-01"}));

TEST_F(UnreadableDisk, WhereNoCheckpointCanBeReadTheJobDoesNotStartOver) {
  begin("none");
  const ProgramResult all = go_on(2, "none", "/checkpoints/", kEveryRank);
  EXPECT_EQ(all.exit_code, 74) << all.all_output();
  EXPECT_THAT(all.stderr_text, AllOf(HasSubstr("Input/output error"), HasSubstr("the same command goes on")));
  const ProgramResult one = go_on(2, "none", "/checkpoints/", "1");
  EXPECT_EQ(one.exit_code, 76) << one.all_output() << "Slurm may find another machine";
  EXPECT_THAT(one.stderr_text, ContainsRegex("only rank 1 on [^ ]+ can't go on"));
  EXPECT_EQ(job_->train(2, "none", kWhole).exit_code, 0);
  EXPECT_EQ(job_->digest("none"), job_->digest("undisturbed"));
  EXPECT_EQ(job_->losses("none"), job_->losses("undisturbed"));
}

TEST_F(UnreadableDisk, DataThatOneRankMissesEndWithAnotherCodeThanDataThatAllMiss) {
  begin("data");
  const std::string manifest = job_->path().filename().string() + "/data/manifest";
  const ProgramResult all = go_on(2, "data", manifest, kEveryRank);
  EXPECT_EQ(all.exit_code, 74) << all.all_output();
  EXPECT_THAT(all.stderr_text, Not(HasSubstr("only rank")));
  for (const std::string rank : {"0", "1"}) {
    const ProgramResult one = go_on(2, "data", manifest, rank);
    EXPECT_EQ(one.exit_code, 76) << one.all_output();
    EXPECT_THAT(one.stderr_text,
                AllOf(HasSubstr("data/manifest"), ContainsRegex("only rank " + rank + " on [^ ]+ can't go on")));
  }
}

}  // namespace
}  // namespace kangpt::test
