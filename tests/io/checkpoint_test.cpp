#include "io/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "tests/io/checkpoint_fixture.hpp"
#include "tests/support/files.hpp"

namespace kangpt::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointTest : public ::testing::Test {
 protected:
  fs::path checkpoints() const { return directory_ / "run" / "checkpoints"; }
  fs::path folder(std::uint64_t step) const { return checkpoints() / checkpoint_name(step); }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const fs::path& path : list_checkpoints(checkpoints())) found.push_back(path.filename());
    return found;
  }
  fs::path write(std::uint64_t step, int world_size = 2) const {
    return test::write_checkpoint(checkpoints(), step, world_size, state_);
  }

  test::TemporaryDirectory directory_;
  test::FlatState state_ = test::random_flat_state(test::small_table(), 64, 1);
};

class WorldSizeTest : public CheckpointTest, public ::testing::WithParamInterface<int> {};

TEST_P(WorldSizeTest, AnyRangeReadsBackWhateverTheFiles) {
  const Checkpoint checkpoint(write(7, GetParam()));
  for (const std::size_t count : {64u, 32u, 16u, 11u}) {
    for (std::size_t begin = 0; begin < 64; begin += count) {
      std::vector<float> p(count, 9), m(count, 9), v(count, 9);
      checkpoint.read(begin, p, m, v);
      for (std::size_t i = 0; i < count; ++i) {
        const bool inside = begin + i < 64;
        ASSERT_EQ(p[i], inside ? state_.parameters[begin + i] : 0.0F);
        ASSERT_EQ(m[i], inside ? state_.first_moment[begin + i] : 0.0F);
        ASSERT_EQ(v[i], inside ? state_.second_moment[begin + i] : 0.0F);
      }
    }
  }
}

TEST_P(WorldSizeTest, DigestIsTheSameAndCoversParametersAndMomentsOnly) {
  const Checkpoint checkpoint(write(7, GetParam()));
  base::Sha256 expected;
  for (const base::ParameterEntry& entry : test::small_table().entries) {
    for (const auto* const values : {&state_.parameters, &state_.first_moment, &state_.second_moment}) {
      expected.update(std::as_bytes(std::span(*values).subspan(entry.offset, entry.size)));
    }
  }
  EXPECT_EQ(canonical_digest(checkpoint), expected.hex());
}

TEST_P(WorldSizeTest, AnAverageIsReadBackAndPartOfTheDigest) {
  const std::string without = canonical_digest(Checkpoint(write(7, GetParam())));
  state_.average = test::random_flat_state(test::small_table(), 64, 2).parameters;
  const Checkpoint checkpoint(write(8, GetParam()));
  EXPECT_TRUE(checkpoint.has_average());
  EXPECT_EQ(checkpoint.manifest().state.averaged_weights, test::kAveragedWeights);
  std::vector<float> found(64), weights(64);
  checkpoint.read_average(3, std::span(found).first(50));
  EXPECT_THAT(std::vector(found.begin(), found.begin() + 50),
              ::testing::ElementsAreArray(std::span(state_.average).subspan(3, 50)));
  checkpoint.read_weights(Weights::kAverage, found);
  checkpoint.read_weights(Weights::kTrained, weights);
  EXPECT_EQ(found, state_.average);
  EXPECT_EQ(weights, state_.parameters);
  EXPECT_NE(canonical_digest(checkpoint), without);
}

INSTANTIATE_TEST_SUITE_P(Ranks, WorldSizeTest, ::testing::Values(1, 2, 4, 8));

TEST_F(CheckpointTest, ManifestReadsBackComplete) {
  const Checkpoint checkpoint(write(1000));
  const CheckpointManifest expected = test::manifest_for(test::small_table(), 1000);
  EXPECT_EQ(checkpoint.manifest().state, expected.state);
  EXPECT_EQ(checkpoint.manifest().configuration, expected.configuration);
  EXPECT_EQ(checkpoint.manifest().program_version, expected.program_version);
  EXPECT_EQ(checkpoint.manifest().parameters, expected.parameters);
  EXPECT_EQ(checkpoint.manifest().flat_size, 64u);
  EXPECT_EQ(checkpoint.manifest().files.size(), 2u);
}

TEST_F(CheckpointTest, SameStateGivesTheSameBytes) {
  const fs::path first = write(5);
  std::vector<std::string> before;
  for (const char* const name : {"manifest.textproto", "state-00-of-02.h5", "state-01-of-02.h5"}) {
    before.push_back(test::read_text(first / name));
  }
  write(5);
  EXPECT_EQ(before[0], test::read_text(first / "manifest.textproto"));
  EXPECT_EQ(before[1], test::read_text(first / "state-00-of-02.h5"));
  EXPECT_EQ(before[2], test::read_text(first / "state-01-of-02.h5"));
  EXPECT_THAT(names(), ElementsAre("step-0000000005"));
  EXPECT_EQ(std::distance(fs::directory_iterator(checkpoints()), fs::directory_iterator()), 1);
}

TEST_F(CheckpointTest, AnOlderFolderOfTheSameStepIsReplaced) {
  write(5, 4);
  state_.parameters[0] = 42;
  const Checkpoint checkpoint(write(5, 1));
  float value = 0;
  checkpoint.read(0, {&value, 1}, {}, {});
  EXPECT_EQ(value, 42);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder(5)), fs::directory_iterator()), 2);
}

TEST_F(CheckpointTest, ListsCompleteFoldersNewestFirst) {
  EXPECT_TRUE(list_checkpoints(checkpoints()).empty());
  for (const std::uint64_t step : {9L, 100L, 12345678901L}) write(step);
  fs::create_directory(checkpoints() / "step-0000000200");
  fs::create_directory(checkpoints() / "step-300");
  fs::copy(folder(9), checkpoints() / "step-0000000400.tmp");
  EXPECT_THAT(names(), ElementsAre("step-12345678901", "step-0000000100", "step-0000000009"));
}

TEST_F(CheckpointTest, PruneKeepsTheNewestAndTheMultiples) {
  for (std::uint64_t step = 1; step <= 8; ++step) write(step);
  prune_checkpoints(checkpoints(), {.last = 2, .every = 3});
  EXPECT_THAT(names(), ElementsAre("step-0000000008", "step-0000000007", "step-0000000006", "step-0000000003"));
}

TEST_F(CheckpointTest, PruneKeepsTheBestAndTheOneThatIsNamed) {
  for (std::uint64_t step = 1; step <= 8; ++step) write(step);  // of which 5 is the best
  prune_checkpoints(checkpoints(), {.last = 2, .step = 3, .keeps_best = true});
  EXPECT_THAT(names(), ElementsAre("step-0000000008", "step-0000000007", "step-0000000005", "step-0000000003"));
  EXPECT_EQ(newest_valid_checkpoint(checkpoints(), [](const std::string&) {})->manifest().state.best_step, 5U);
  prune_checkpoints(checkpoints(), {.last = 2});
  EXPECT_THAT(names(), ElementsAre("step-0000000008", "step-0000000007"));
}

TEST_F(CheckpointTest, PruneDeletesNothingWhileTheNewestIsBad) {
  for (std::uint64_t step = 1; step <= 4; ++step) write(step);
  test::flip_byte(folder(4) / "state-00-of-02.h5", 3000);
  prune_checkpoints(checkpoints(), {.last = 2});
  EXPECT_EQ(names().size(), 4u);
}

// What somebody put there neither stops pruning nor counts as a checkpoint.
TEST_F(CheckpointTest, PrunePassesOverWhatIsNoCheckpoint) {
  for (std::uint64_t step = 1; step <= 4; ++step) write(step);
  fs::create_directory(folder(999));
  test::write_text(folder(1000), "a file");
  prune_checkpoints(checkpoints(), {.last = 2});
  EXPECT_THAT(names(), ElementsAre("step-0000000004", "step-0000000003"));
  EXPECT_TRUE(fs::exists(folder(999)));
  const auto valid = newest_valid_checkpoint(checkpoints(), [](const std::string&) {});
  EXPECT_EQ(valid->manifest().state.step, 4U);
  EXPECT_TRUE(fs::exists(folder(1000)));
  write(1000);
  EXPECT_THAT(names(), ElementsAre("step-0000001000", "step-0000000004", "step-0000000003")) << "it gives way";
}

TEST_F(CheckpointTest, LeftoversOfAKilledWriterGoAway) {
  write(1);
  fs::copy(folder(1), checkpoints() / "step-0000000001.tmp");
  fs::copy(folder(1), checkpoints() / "step-0000000002.tmp");
  fs::copy(folder(1), checkpoints() / "step-0000000003.tmp-delete");
  prune_checkpoints(checkpoints(), {.last = 2});
  EXPECT_FALSE(fs::exists(checkpoints() / "step-0000000001.tmp"));
  EXPECT_TRUE(fs::exists(checkpoints() / "step-0000000002.tmp")) << "may be the next one, being written";
  EXPECT_FALSE(fs::exists(checkpoints() / "step-0000000003.tmp-delete"));
  const fs::path fresh = begin_checkpoint(checkpoints(), 9);
  EXPECT_FALSE(fs::exists(checkpoints() / "step-0000000002.tmp"));
  EXPECT_TRUE(fs::is_empty(fresh));
  abandon_checkpoint(fresh);
  EXPECT_FALSE(fs::exists(fresh));
  EXPECT_THAT(names(), ElementsAre("step-0000000001"));
}

TEST_F(CheckpointTest, CommitRefusesAFileThatIsNotWhatItsWriterReported) {
  const fs::path folder = begin_checkpoint(checkpoints(), 3);
  CheckpointManifest manifest = test::manifest_for(test::small_table(), 3);
  manifest.flat_size = 64;
  manifest.files = {write_range(folder, {0, 1}, 3, {0, state_.parameters, state_.first_moment, state_.second_moment})};
  test::truncate_file(folder / "state-00-of-01.h5", 100);
  EXPECT_THROW(commit_checkpoint(folder, manifest), CheckpointError);
  EXPECT_TRUE(names().empty());
}

TEST_F(CheckpointTest, OpensFolderRunDirectoryAndFolderOfCheckpoints) {
  write(1);
  write(2);
  EXPECT_EQ(open_checkpoint(folder(1)).manifest().state.step, 1u);
  EXPECT_EQ(open_checkpoint(folder(1) / "").manifest().state.step, 1u);
  EXPECT_EQ(open_checkpoint(directory_ / "run").manifest().state.step, 2u);
  EXPECT_EQ(open_checkpoint(checkpoints()).manifest().state.step, 2u);
  test::flip_byte(folder(2) / "state-01-of-02.h5", 3000);
  EXPECT_EQ(open_checkpoint(directory_ / "run").manifest().state.step, 1u);
  EXPECT_TRUE(fs::exists(folder(2))) << "nothing is moved";
  EXPECT_THROW(open_checkpoint(folder(2)), CheckpointError);
  EXPECT_THROW(open_checkpoint(directory_ / "nothing"), MissingInputError);
}

TEST_F(CheckpointTest, UnverifiedFilesAreVerifiedWhenTheyAreFirstRead) {
  test::flip_byte(write(1) / "state-01-of-02.h5", 3000);
  const Checkpoint checkpoint(folder(1), Checkpoint::Verify::kManifest);
  std::vector<float> values(32);
  checkpoint.read(0, values, {}, {});
  EXPECT_THROW(checkpoint.read(32, values, {}, {}), CheckpointError);
}

TEST_F(CheckpointTest, OpenFilesOutliveTheFolder) {
  const Checkpoint checkpoint(write(1));
  fs::remove_all(folder(1));
  std::vector<float> values(64);
  checkpoint.read(0, {}, values, {});
  EXPECT_EQ(values, state_.first_moment);
}

TEST_F(CheckpointTest, WithoutAnAverageNoneIsRead) {
  const Checkpoint checkpoint(write(1));
  std::vector<float> values(64);
  EXPECT_FALSE(checkpoint.has_average());
  EXPECT_THROW(checkpoint.read_average(0, values), UsageError);
}

TEST_F(CheckpointTest, AManifestThatClaimsAnAverageItsFilesLackIsRefused) {
  CheckpointManifest manifest = test::manifest_for(test::small_table(), 3);
  manifest.flat_size = 64;
  manifest.state.averaged_weights = 5;
  const fs::path writing = begin_checkpoint(checkpoints(), 3);
  manifest.files = {write_range(writing, {0, 1}, 3, state_.range(0, 64))};
  commit_checkpoint(writing, manifest);
  std::vector<float> values(64);
  EXPECT_THROW(Checkpoint(folder(3)).read_average(0, values), CheckpointError);
}

TEST_F(CheckpointTest, AFolderUnderAnotherStepsNameIsRefused) {
  fs::rename(write(1), folder(2));
  EXPECT_THROW(Checkpoint{folder(2)}, CheckpointError);
  fs::rename(folder(2), directory_ / "best");
  EXPECT_NO_THROW(Checkpoint{directory_ / "best"});
}

TEST_F(CheckpointTest, AnUnwritableFolderIsAnIoErrorAndLeavesNothing) {
  const fs::path folder = directory_ / "not-there";
  const FlatRange range{0, state_.parameters, state_.first_moment, state_.second_moment};
  EXPECT_THROW(write_range(folder, {0, 1}, 1, range), IoError);
  EXPECT_FALSE(fs::exists(folder));
}

// --- Damage: every file in turn, in every way ---

enum class Damage { kFlip, kTruncate, kEmpty, kDelete, kFolder, kLink };

void damage(const fs::path& path, Damage kind) {
  const fs::path copy = path.string() + ".copy";
  switch (kind) {
    case Damage::kFlip:
      return test::flip_byte(path, fs::file_size(path) * 2 / 3);
    case Damage::kTruncate:
      return test::truncate_file(path, fs::file_size(path) - 1);
    case Damage::kEmpty:
      return test::truncate_file(path, 0);
    case Damage::kDelete:
      fs::remove(path);
      return;
    case Damage::kFolder:
      fs::remove(path);
      fs::create_directory(path);
      return;
    case Damage::kLink:
      fs::rename(path, copy);
      fs::create_symlink("/dev/zero", path);
      return;
  }
}

class DamageTest : public CheckpointTest, public ::testing::WithParamInterface<std::tuple<const char*, Damage>> {};

TEST_P(DamageTest, IsNamedAndThePreviousCheckpointIsTaken) {
  const auto [name, kind] = GetParam();
  write(1);
  write(2);
  damage(folder(2) / name, kind);
  try {
    const Checkpoint checkpoint(folder(2));
    FAIL() << "not noticed";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr(name));
  }
  std::vector<std::string> reports;
  const auto valid = newest_valid_checkpoint(checkpoints(), [&](const std::string& text) { reports.push_back(text); });
  ASSERT_TRUE(valid.has_value());
  EXPECT_EQ(valid->manifest().state.step, 1u);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_THAT(reports[0], HasSubstr(name));
  EXPECT_TRUE(fs::exists(checkpoints() / "quarantine" / "step-0000000002"));
  EXPECT_THAT(names(), ElementsAre("step-0000000001"));
}

INSTANTIATE_TEST_SUITE_P(EveryFile, DamageTest,
                         ::testing::Combine(::testing::Values("manifest.textproto", "state-00-of-02.h5",
                                                              "state-01-of-02.h5"),
                                            ::testing::Values(Damage::kFlip, Damage::kTruncate, Damage::kEmpty,
                                                              Damage::kDelete, Damage::kFolder, Damage::kLink)));

TEST_F(CheckpointTest, EveryByteOfEveryFileCounts) {
  write(1);
  for (const fs::directory_entry& file : fs::directory_iterator(folder(1))) {
    const std::uint64_t stride = file.path().extension() == ".h5" ? 61 : 7;
    for (std::uint64_t offset = 0; offset < file.file_size(); offset += stride) {
      test::flip_byte(file.path(), offset);
      EXPECT_THROW(Checkpoint{folder(1)}, CheckpointError) << file.path() << " byte " << offset;
      test::flip_byte(file.path(), offset);
    }
  }
  EXPECT_NO_THROW(Checkpoint{folder(1)});
}

TEST_F(CheckpointTest, FilesOfTwoCheckpointsDoNotMix) {
  write(1);
  write(2);
  fs::copy(folder(1) / "state-00-of-02.h5", folder(2) / "state-00-of-02.h5", fs::copy_options::overwrite_existing);
  EXPECT_THROW(Checkpoint{folder(2)}, CheckpointError);
}

TEST_F(CheckpointTest, NoIntactCheckpointIsAnErrorNowAndLater) {
  const auto ignore = [](const std::string&) {};
  EXPECT_FALSE(newest_valid_checkpoint(checkpoints(), ignore).has_value());
  for (int copy = 0; copy < 2; ++copy) {
    test::flip_byte(write(1) / "manifest.textproto", 5);
    EXPECT_THROW(newest_valid_checkpoint(checkpoints(), ignore), CheckpointError);
    EXPECT_THROW(newest_valid_checkpoint(checkpoints(), ignore), CheckpointError) << "must not start over silently";
  }
  EXPECT_TRUE(fs::exists(checkpoints() / "quarantine" / "step-0000000001-2"));
}

}  // namespace
}  // namespace kangpt::io
