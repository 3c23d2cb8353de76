#include "data_pipeline/batches/batches.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.hpp"
#include "data_pipeline/batches/prefetch.hpp"
#include "tests/data_pipeline/shards/small_dataset.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

using config::DataMode;
using training::MicroBatch;

class BatchesTest : public ::testing::Test {
 protected:
  BatchesTest() {
    test::write_dataset(folder_.path(), stories_, 17);
    options_.sources = open_sources({{folder_.path()}});
    options_.sequence_length = 16;
    options_.batch_size = 8;
    options_.logical_shards = 4;
    options_.seed = 1;
  }

  // All rows of a global batch in logical shard order.
  static std::vector<std::vector<std::int64_t>> rows(training::BatchSource& source, std::uint64_t batch,
                                                     int logical_shards) {
    std::vector<std::vector<std::int64_t>> result;
    for (int shard = 0; shard < logical_shards; ++shard) {
      const MicroBatch micro = source.micro_batch(batch, shard);
      for (std::int64_t row = 0; row < micro.rows; ++row) {
        const auto first = micro.inputs.begin() + row * micro.time;
        result.emplace_back(first, first + micro.time);
      }
    }
    return result;
  }

  // How often each sample, known by its inputs, occurs in `batches` batches.
  std::map<std::vector<std::int64_t>, int> ledger(std::uint64_t batches) {
    const auto source = open_batches(options_);
    std::map<std::vector<std::int64_t>, int> counts;
    for (std::uint64_t batch = 0; batch < batches; ++batch) {
      for (const auto& row : rows(*source, batch, options_.logical_shards)) ++counts[row];
    }
    return counts;
  }

  test::Stories stories_ = test::numbered_stories(100);
  test::TemporaryDirectory folder_;
  BatchOptions options_;
};

TEST_F(BatchesTest, PackedRowsAreWindowsOfTheConcatenatedStories) {
  options_.shuffle = config::Shuffle::kNone;
  std::vector<std::int64_t> all;
  for (const auto& story : stories_) all.insert(all.end(), story.begin(), story.end());
  const auto source = open_batches(options_);
  const std::uint64_t windows = (all.size() - 1) / 16;
  EXPECT_EQ(source->batches_per_epoch(), (windows + 7) / 8);
  for (std::uint64_t batch = 0; batch < windows / 8; ++batch) {
    for (int shard = 0; shard < 4; ++shard) {
      const MicroBatch micro = source->micro_batch(batch, shard);
      ASSERT_EQ(micro.rows, 2);
      ASSERT_EQ(micro.time, 16);
      for (std::uint64_t row = 0; row < 2; ++row) {
        const auto first =
            all.begin() + static_cast<std::ptrdiff_t>((batch * 8 + static_cast<std::uint64_t>(shard) * 2 + row) * 16);
        const auto cell = static_cast<std::ptrdiff_t>(row * 16);
        ASSERT_TRUE(std::equal(first, first + 16, micro.inputs.begin() + cell));
        ASSERT_TRUE(std::equal(first + 1, first + 17, micro.targets.begin() + cell));
      }
      ASSERT_THAT(micro.mask, ::testing::Each(1.0F));
    }
  }
}

TEST_F(BatchesTest, StoryRowsAreStoryBeginningsMaskedByLength) {
  options_.shuffle = config::Shuffle::kNone;
  options_.mode = DataMode::kStory;
  const auto source = open_batches(options_);
  EXPECT_EQ(source->batches_per_epoch(), 12U) << "100 stories: 12 full batches of 8, the partial one is dropped";
  const MicroBatch micro = source->micro_batch(0, 0);
  ASSERT_EQ(micro.time, 15) << "16 ids are 15 inputs with their targets";
  const auto& story = stories_[0];
  ASSERT_EQ(story.size(), 3U);
  EXPECT_THAT(std::vector(micro.inputs.begin(), micro.inputs.begin() + 4),
              ::testing::ElementsAre(story[0], story[1], 50256, 0));
  EXPECT_THAT(std::vector(micro.targets.begin(), micro.targets.begin() + 3),
              ::testing::ElementsAre(story[1], 50256, 0));
  EXPECT_THAT(std::vector(micro.mask.begin(), micro.mask.begin() + 3), ::testing::ElementsAre(1.0F, 1.0F, 0.0F))
      << "end of text is a target";
}

TEST_F(BatchesTest, AFullLastStoryBatchIsUsed) {
  options_.mode = DataMode::kStory;
  options_.batch_size = 100;
  options_.logical_shards = 1;
  EXPECT_EQ(open_batches(options_)->batches_per_epoch(), 1U);
}

TEST_F(BatchesTest, PaddedRowsHaveEveryTargetOfEveryStoryOnce) {
  options_.mode = DataMode::kPadded;
  options_.tail = Tail::kMask;
  const auto source = open_batches(options_);
  std::map<std::int64_t, int> targets;
  for (std::uint64_t batch = 0; batch < source->batches_per_epoch(); ++batch) {
    for (int shard = 0; shard < 4; ++shard) {
      const MicroBatch micro = source->micro_batch(batch, shard);
      for (std::size_t cell = 0; cell < micro.mask.size(); ++cell) {
        if (micro.mask[cell] > 0) ++targets[micro.targets[cell]];
      }
    }
  }
  std::map<std::int64_t, int> expected;
  for (const auto& story : stories_) {
    for (std::size_t i = 1; i < story.size(); ++i) ++expected[story[i]];
  }
  EXPECT_EQ(targets, expected);
}

TEST_F(BatchesTest, EachSampleOccursOnceAnEpochInEveryMode) {
  for (const DataMode mode : {DataMode::kPacked, DataMode::kStory, DataMode::kPadded}) {
    options_.mode = mode;
    options_.batch_size = mode == DataMode::kStory ? 20 : 12;
    const std::uint64_t one_epoch = open_batches(options_)->batches_per_epoch();
    options_.shuffle = config::Shuffle::kNone;
    const auto expected = ledger(one_epoch);
    for (const auto shuffle : {config::Shuffle::kSample, config::Shuffle::kBlock}) {
      options_.shuffle = shuffle;
      // 12 epochs are a whole number of batches, so each sample occurs exactly 12 times.
      const std::uint64_t samples = mode == DataMode::kStory ? 100 : expected.size();
      const auto counts = ledger(12 * samples / static_cast<std::uint64_t>(options_.batch_size));
      EXPECT_EQ(counts.size(), samples);
      for (const auto& [row, count] : counts) ASSERT_EQ(count, 12);
      EXPECT_TRUE(std::equal(counts.begin(), counts.end(), expected.begin(), expected.end(),
                             [](const auto& a, const auto& b) { return a.first == b.first; }));
    }
  }
}

TEST_F(BatchesTest, EveryDivisionIntoLogicalShardsSeesTheSameSamplesInTheSamePlace) {
  for (const auto shuffle : {config::Shuffle::kSample, config::Shuffle::kBlock}) {
    options_.shuffle = shuffle;
    options_.logical_shards = 4;
    const auto four = open_batches(options_);
    for (const int shards : {1, 2, 8}) {
      options_.logical_shards = shards;
      const auto other = open_batches(options_);
      for (const std::uint64_t batch : {0U, 5U, 40U})
        EXPECT_EQ(rows(*four, batch, 4), rows(*other, batch, shards)) << shards << " shards, batch " << batch;
    }
  }
}

TEST_F(BatchesTest, BatchesAreAFunctionOfTheirIndex) {
  for (const auto shuffle : {config::Shuffle::kSample, config::Shuffle::kBlock}) {
    options_.shuffle = shuffle;
    options_.seed = 1;
    const auto source = open_batches(options_);
    const auto expected = rows(*source, 30, 4);
    rows(*source, 2, 4);
    EXPECT_EQ(rows(*source, 30, 4), expected);
    EXPECT_EQ(rows(*open_batches(options_), 30, 4), expected);
    options_.seed = 2;
    EXPECT_NE(rows(*open_batches(options_), 30, 4), expected);
  }
}

TEST_F(BatchesTest, EpochsHaveDifferentOrders) {
  options_.mode = DataMode::kStory;
  const auto source = open_batches(options_);
  EXPECT_NE(rows(*source, 0, 4), rows(*source, source->batches_per_epoch(), 4));
}

TEST_F(BatchesTest, SamplesOfABatchAreNamedInTheOrderOfItsRows) {
  options_.mode = DataMode::kStory;
  const auto samples_of = samples_of_batches(options_);
  const auto found = rows(*open_batches(options_), 7, 4);
  const fs::path data = options_.sources[0].directory;
  fs::rename(data, data.string() + "-away");
  const auto samples = samples_of(7);  // without the files
  fs::rename(data.string() + "-away", data);
  ASSERT_EQ(samples.size(), 8U);
  for (std::size_t i = 0; i < samples.size(); ++i) EXPECT_EQ(found[i][0], stories_[samples[i]][0]);
}

TEST_F(BatchesTest, PrefetchingChangesNothing) {
  const auto plain = open_batches(options_);
  const auto ahead = prefetch(open_batches(options_), {3, 1, 3, 4});
  const auto same = [&](std::uint64_t batch, int shard) {
    const MicroBatch a = plain->micro_batch(batch, shard);
    const MicroBatch b = ahead->micro_batch(batch, shard);
    return a.inputs == b.inputs && a.targets == b.targets && a.mask == b.mask;
  };
  for (std::uint64_t batch = 3; batch < 20; ++batch) {
    for (const int shard : {1, 2}) ASSERT_TRUE(same(batch, shard));
  }
  ASSERT_TRUE(same(7, 2)) << "a step back";
  ASSERT_TRUE(same(8, 1));
  ASSERT_TRUE(same(8, 1)) << "the same again";
  EXPECT_EQ(ahead->batches_per_epoch(), plain->batches_per_epoch());
}

// Damage inside a shard is found when something of it is wanted, a missing or cut one at once.
TEST_F(BatchesTest, AShardIsOpenedWhenItIsWanted) {
  options_.shuffle = config::Shuffle::kNone;
  const std::string last = (folder_ / "train-00005.h5").string();
  const std::string good = test::read_text(last);
  test::flip_byte(last, good.size() - 9);  // the last story offset
  const auto source = open_batches(options_);
  EXPECT_NO_THROW(source->micro_batch(0, 0));
  EXPECT_THROW(source->micro_batch(source->batches_per_epoch() - 2, 3), DataError);
  test::truncate_file(last, good.size() - 1);
  EXPECT_THROW(open_batches(options_), DataError);
  fs::remove(last);
  EXPECT_THROW(open_batches(options_), MissingInputError);
}

TEST_F(BatchesTest, PrefetchingHandsOnTheErrorOfItsRequest) {
  const test::fs::path damaged = folder_ / "train-00003.h5";
  test::flip_byte(damaged, io::Hdf5File::open(damaged).dataset("tokens").file_offset.value());
  const auto ahead = prefetch(open_batches(options_), {0, 0, 4, 4});
  EXPECT_THROW(
      {
        for (std::uint64_t batch = 0; batch < 50; ++batch) {
          for (int shard = 0; shard < 4; ++shard) ahead->micro_batch(batch, shard);
        }
      },
      DataError);
}

TEST_F(BatchesTest, WrongOptionsAreConfigurationErrors) {
  const auto with = [this](auto change) {
    BatchOptions options = options_;
    change(options);
    return options;
  };
  EXPECT_THROW(open_batches(with([](auto& o) { o.logical_shards = 3; })), ConfigError);
  EXPECT_THROW(open_batches(with([](auto& o) { o.sequence_length = 0; })), ConfigError);
  EXPECT_THROW(open_batches(with([](auto& o) { o.sequence_length = 100000; })), ConfigError);
  EXPECT_THROW(open_batches(with([](auto& o) { o.vocabulary_size = 1000; })), ConfigError);
  EXPECT_THROW(open_batches(with([](auto& o) { o.mode = DataMode::kStory, o.batch_size = 104; })), ConfigError);
  EXPECT_THROW(open_batches(with([](auto& o) { o.split = kValidationSplit; })), MissingInputError);
}

// The source of a sample is known by its tokens: those of the second folder are of other stories.
TEST_F(BatchesTest, SourcesAreBlendedByWeightAndEachSampleOfASourceComesOnceAPass) {
  const test::TemporaryDirectory other;
  test::Stories stories = test::numbered_stories(60);
  for (auto& story : stories) {
    for (std::uint32_t& token : story) token = token == 50256 ? token : token + 20000;
  }
  test::write_dataset(other.path(), stories, 60);
  const auto first = open_batches(options_);
  options_.sources = open_sources({{folder_.path(), 3}, {other.path(), 1}});
  options_.mode = DataMode::kStory;
  const std::uint64_t batches = 40;  // 320 samples: 240 of the first source, 80 of the second
  std::map<std::vector<std::int64_t>, int> counts = ledger(batches);
  int of_second = 0;
  for (const auto& [row, count] : counts) {
    const bool second = row[0] >= 20000;
    if (second) of_second += count;
    EXPECT_TRUE(second ? count == 1 || count == 2 : count == 2 || count == 3) << count;
  }
  EXPECT_NEAR(of_second, 80, 1);
  EXPECT_EQ(counts.size(), 160U);
  EXPECT_EQ(open_batches(options_)->batches_per_epoch(), 160U / 8);
  const auto facts = dataset_facts(options_.sources);
  EXPECT_EQ(facts.stories, 160U);
  options_.sources[1].weight = 2;
  EXPECT_NE(dataset_facts(options_.sources).fingerprint, facts.fingerprint);
}

TEST_F(BatchesTest, ABlendIsAFunctionOfTheBatchIndexInEveryDivision) {
  const test::TemporaryDirectory other;
  test::write_dataset(other.path(), test::numbered_stories(60), 60);
  options_.sources = open_sources({{folder_.path(), 0.3}, {other.path(), 0.7}});
  const auto four = open_batches(options_);
  options_.logical_shards = 2;
  const auto two = open_batches(options_);
  for (const std::uint64_t batch : {900U, 3U, 5000U}) EXPECT_EQ(rows(*four, batch, 4), rows(*two, batch, 2)) << batch;
}

TEST_F(BatchesTest, EvaluatingSeveralSourcesCountsEachSampleOnce) {
  const test::TemporaryDirectory other;
  test::Stories stories = test::numbered_stories(35);
  for (auto& story : stories) story[0] = story[0] + 30000;
  test::write_dataset(other.path(), stories, 35);
  options_.sources = open_sources({{folder_.path(), 1}, {other.path(), 5}});
  options_.mode = DataMode::kStory;
  options_.tail = Tail::kMask;
  auto counts = ledger(open_batches(options_)->batches_per_epoch());
  counts.erase(std::vector<std::int64_t>(15, 0));  // masked rows
  EXPECT_EQ(counts.size(), 135U);
  for (const auto& [row, count] : counts) EXPECT_EQ(count, 1);
}

TEST_F(BatchesTest, SourcesThatCannotBeBlendedAreRefused) {
  EXPECT_THROW(open_sources({}), ConfigError);
  EXPECT_THROW(open_sources({{folder_.path(), 0}}), ConfigError);
  EXPECT_THROW(open_sources({{folder_.path()}, {folder_ / "absent"}}), MissingInputError);
  const test::TemporaryDirectory other;
  data::Manifest manifest = test::write_dataset(other.path(), stories_, 17);
  manifest.vocabulary_sha256 = "another";
  base::write_file_atomically(other / kManifestName, to_text(manifest));
  options_.sources = open_sources({{folder_.path()}, {other.path()}});
  EXPECT_THROW(open_batches(options_), ConfigError);
}

TEST_F(BatchesTest, WhatIsOpenedAsksForItsManifestNoMore) {
  const auto before = rows(*open_batches(options_), 3, 4);
  fs::remove(folder_ / kManifestName);
  EXPECT_THROW(open_sources({{folder_.path()}}), MissingInputError);
  EXPECT_EQ(dataset_facts(options_.sources).stories, 100U);
  EXPECT_FALSE(have_split(options_.sources, kValidationSplit));
  EXPECT_EQ(rows(*open_batches(options_), 3, 4), before);
  EXPECT_EQ(samples_of_batches(options_)(3).size(), 8U);
}

TEST(DatasetFactsTest, TheFingerprintFollowsTheTokens) {
  const test::TemporaryDirectory a, b, c;
  test::Stories stories = test::numbered_stories(20);
  test::write_dataset(a.path(), stories, 7);
  test::write_dataset(b.path(), stories, 7);
  stories[5][0] ^= 1;
  test::write_dataset(c.path(), stories, 7);
  EXPECT_EQ(dataset_facts(a.path()).fingerprint, dataset_facts(b.path()).fingerprint);
  EXPECT_NE(dataset_facts(a.path()).fingerprint, dataset_facts(c.path()).fingerprint);
  EXPECT_EQ(dataset_facts(a.path()).stories, 20U);
}

// As if the last stories had been a split of their own from the beginning, in every mode.
TEST_F(BatchesTest, HeldOutStoriesAreAValidationSplitOfTheirOwn) {
  const test::TemporaryDirectory first, last;
  test::write_dataset(first.path(), {stories_.begin(), stories_.end() - 23}, 10);
  test::write_dataset(last.path(), {stories_.end() - 23, stories_.end()}, 10);
  for (const config::DataMode mode : {config::DataMode::kPacked, config::DataMode::kStory, config::DataMode::kPadded}) {
    options_.mode = mode;
    const auto expect_same = [&](const std::string& split, const fs::path& expected) {
      options_.split = split;
      options_.sources = open_sources({{folder_.path(), 1, 0.23}});
      const auto held_out = open_batches(options_);
      options_.split = kTrainSplit;
      options_.sources = open_sources({{expected}});
      const auto alone = open_batches(options_);
      EXPECT_EQ(held_out->batches_per_epoch(), alone->batches_per_epoch());
      for (std::uint64_t batch = 0; batch < 2 * alone->batches_per_epoch(); ++batch)
        EXPECT_EQ(rows(*held_out, batch, 4), rows(*alone, batch, 4)) << split << ", batch " << batch;
    };
    expect_same(kTrainSplit, first.path());
    expect_same(kValidationSplit, last.path());
  }
}

TEST_F(BatchesTest, HoldingStoriesOutMakesOtherData) {
  const auto facts = [&](double holdout, const std::string& split) {
    return dataset_facts(open_sources({{folder_.path(), 1, holdout}}), split);
  };
  EXPECT_FALSE(have_split(open_sources({{folder_.path()}}), kValidationSplit));
  EXPECT_TRUE(have_split(open_sources({{folder_.path(), 1, 0.001}}), kValidationSplit));
  EXPECT_EQ(facts(0.001, kValidationSplit).stories, 1U) << "one at least";
  EXPECT_EQ(facts(0.25, kValidationSplit).stories, 25U);
  EXPECT_EQ(facts(0.25, kTrainSplit).stories, 75U);
  EXPECT_EQ(facts(0.25, kTrainSplit).tokens + facts(0.25, kValidationSplit).tokens, facts(0, kTrainSplit).tokens);
  EXPECT_NE(facts(0.25, kTrainSplit).fingerprint, facts(0, kTrainSplit).fingerprint);
  EXPECT_NE(facts(0.25, kTrainSplit).fingerprint, facts(0.26, kTrainSplit).fingerprint);
  EXPECT_NE(facts(0.25, kTrainSplit).fingerprint, facts(0.25, kValidationSplit).fingerprint);
}

}  // namespace
}  // namespace kangpt::data
