#include "data_pipeline/text/story_generator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace kangpt::data {
namespace {

TEST(StoryGenerator, StoriesAreShortPlainTextWithoutHoles) {
  std::set<std::string> distinct;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const std::string story = make_story(1, i);
    ASSERT_GE(story.size(), 300U) << story;
    ASSERT_LE(story.size(), 1200U) << story;
    ASSERT_EQ(story.find_first_of("{}<>"), std::string::npos) << story;
    ASSERT_EQ(story.find("  "), std::string::npos) << story;
    for (const char c : story) ASSERT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << story;
    distinct.insert(story);
  }
  EXPECT_EQ(distinct.size(), 2000U);
}

TEST(StoryGenerator, DependsOnSeedAndIndexAlone) {
  EXPECT_EQ(make_story(1, 5), make_story(1, 5));
  EXPECT_NE(make_story(1, 5), make_story(2, 5));
  EXPECT_NE(make_story(1, 5), make_story(1, 6));
}

}  // namespace
}  // namespace kangpt::data
