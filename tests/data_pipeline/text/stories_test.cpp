// Stories of text: where separators stand, what else is in it, and what is no text.
#include "data_pipeline/text/stories.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "data_pipeline/text/file_kinds.hpp"
#include "data_pipeline/tokenizer/unicode.hpp"
#include "tests/support/files.hpp"

namespace kangpt::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kMark(kByteOrderMark);
const std::string kEnd(kSeparator);

struct Found {
  std::vector<std::string> stories;
  Oddities odd;
  bool operator==(const Found&) const = default;
};

class StoriesTest : public ::testing::Test {
 protected:
  Found read(const std::string& content, SeparatorPlace place) const {
    test::fs::remove(folder_ / "in.txt");
    test::write_text(folder_ / "in.txt", content);
    SpareBuffers<std::string> spare;
    TextBlocks blocks((folder_ / "in.txt").string(), place, spare);
    StoryOptions options;
    options.source = "in.txt";
    options.separators = place;
    Found found;
    while (const std::optional<TextBlock> block = blocks.next()) {
      const BlockStories stories(*block, options);
      for (const Story& story : stories.stories()) {
        found.stories.emplace_back(story.text.text);
        found.odd += story.odd;
      }
    }
    return found;
  }

  test::TemporaryDirectory folder_;
};

std::string stripped(const std::string& text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t\n\v\f\r"), text.size());
  return text.substr(begin, text.find_last_not_of(" \t\n\v\f\r") + 1 - begin);
}

void end_story(Found& found, std::string& story) {
  found.stories.push_back(stripped(story));
  found.odd.byte_order_marks += found.stories.back().starts_with(kMark) ? 1 : 0;
  story.clear();
}

// Line by line.
Found by_the_book(std::string content, SeparatorPlace place) {
  if (content.starts_with(kMark)) content.erase(0, kMark.size());
  Found found;
  std::string story;
  while (!content.empty()) {
    const std::size_t size = std::min(content.find('\n'), content.size() - 1) + 1;
    std::string line = content.substr(0, size);
    content.erase(0, size);
    if (stripped(line.starts_with(kMark) ? line.substr(kMark.size()) : line) == kEnd) {
      end_story(found, story);
      continue;
    }
    for (std::size_t at = line.find(kEnd); at != std::string::npos; at = line.find(kEnd)) {
      story += line.substr(0, at);
      line.erase(0, at + kEnd.size());
      if (place == SeparatorPlace::kAnywhere) {
        end_story(found, story);
      } else {
        story += kEnd;
        ++found.odd.separators_in_text;
      }
    }
    story += line;
  }
  if (!stripped(story).empty()) end_story(found, story);
  return found;
}

TEST_F(StoriesTest, SeparatorsAreFoundAsLineByLine) {
  const std::array<std::string, 14> pieces = {kEnd, kEnd, kEnd, "\n",  "\n",    "\n",       "\r",
                                              " ",  "\t", "a",  kMark, "<|end", "oftext|>", "\r\n"};
  std::mt19937_64 random(31);
  for (int round = 0; round < 1500; ++round) {
    std::string text;
    for (std::size_t i = random() % 20; i > 0; --i) text += pieces[random() % pieces.size()];
    for (const SeparatorPlace place : {SeparatorPlace::kOwnLine, SeparatorPlace::kAnywhere}) {
      const Found found = read(text, place);
      const Found expected = by_the_book(text, place);
      ASSERT_THAT(found.stories, ::testing::ElementsAreArray(expected.stories)) << text;
      ASSERT_TRUE(found.odd == expected.odd) << text;
    }
  }
}

// Where blocks end between separators leaves no trace.
TEST_F(StoriesTest, ManyBlocksGiveWhatOneWouldGive) {
  std::mt19937_64 random(32);
  const std::array<std::string, 6> ends = {
      "\n" + kEnd + "\n", " \r\n " + kEnd + "  \r\n", kEnd + "\n", "\n" + kEnd, kEnd, "\n" + kMark + kEnd + "\n"};
  std::string text;
  while (text.size() < std::size_t{5} << 20) {
    text += std::string(random() % (random() % 40 == 0 ? 400000 : 3000), 'x');
    text += random() % 3 == 0 ? ends[random() % ends.size()] : ends[0];
  }
  for (const SeparatorPlace place : {SeparatorPlace::kOwnLine, SeparatorPlace::kAnywhere})
    EXPECT_TRUE(read(text, place) == by_the_book(text, place));
}

// Looking back to the begin of the line from each of them would take hours here and run into the time-out.
TEST_F(StoriesTest, AMillionSeparatorsWithinALineAreNoTrouble) {
  std::string text;
  while (text.size() < std::size_t{15} << 20) text += "Tom." + kEnd;
  const std::size_t count = text.size() / (4 + kEnd.size());
  const Found one = read(text, SeparatorPlace::kOwnLine);
  EXPECT_EQ(one.stories.size(), 1U);
  EXPECT_EQ(one.odd.separators_in_text, count);
  EXPECT_EQ(read(text, SeparatorPlace::kAnywhere).stories, std::vector<std::string>(count, "Tom."));
  std::string blanks;
  while (blanks.size() < std::size_t{15} << 20) blanks += kEnd + std::string(50, ' ');
  EXPECT_EQ(read(blanks, SeparatorPlace::kOwnLine).stories.size(), 1U);
}

TEST_F(StoriesTest, ATooLongStoryWithSeparatorsInItSaysWhatToDo) {
  std::string text;
  while (text.size() < std::size_t{18} << 20) text += "Tom ran. " + kEnd + "\n";
  try {
    read(text, SeparatorPlace::kOwnLine);
    ADD_FAILURE() << "accepted";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--separator anywhere"));
  }
}

TEST_F(StoriesTest, ZeroBytesAndByteOrderMarksAreCounted) {
  const Found found = read(kMark + "One." + std::string(7, '\0') + "\n" + kEnd + "\n" + kMark + "Two.\n" + kEnd + "\n" +
                               "Thr" + kMark + "ee.\0\n",
                           SeparatorPlace::kOwnLine);
  EXPECT_THAT(found.stories, ElementsAre("One." + std::string(7, '\0'), kMark + "Two.", "Thr" + kMark + "ee."));
  EXPECT_EQ(found.odd.zero_bytes, 7U);
  EXPECT_EQ(found.odd.byte_order_marks, 1U);
}

std::string encoded(const std::u32string& text, std::size_t width, bool big_endian) {
  std::string bytes;
  const auto put = [&](std::uint32_t unit) {
    for (std::size_t i = 0; i < width; ++i)
      bytes += static_cast<char>(unit >> (8 * (big_endian ? width - 1 - i : i)) & 0xFFU);
  };
  for (const char32_t c : text) {
    if (width == 2 && c >= 0x10000) {
      put(0xD800U + ((c - 0x10000U) >> 10));
      put(0xDC00U + ((c - 0x10000U) & 0x3FFU));
    } else {
      put(c);
    }
  }
  return bytes;
}

TEST(FileKinds, Utf16AndUtf32AreToldWithOrWithoutAMark) {
  const std::array<std::u32string, 4> texts = {U"Tom ran to the park.\nMia sat.\n", U"Мама мыла раму. Папа спал.\n",
                                               U"Ο Γιάννης έτρεξε. Ήταν καλά.\n", U"Él corrió \U0001F600 a la casa.\n"};
  for (const std::u32string& text : texts) {
    for (const std::size_t width : {std::size_t{2}, std::size_t{4}}) {
      for (const bool big_endian : {false, true}) {
        for (const std::u32string& mark : {std::u32string(), std::u32string(U"\uFEFF")}) {
          try {
            check_is_text(encoded(mark + text + text + text, width, big_endian), "in.txt");
            ADD_FAILURE() << "accepted";
          } catch (const DataError& error) {
            EXPECT_THAT(error.what(), HasSubstr(width == 2 ? "UTF-16" : "UTF-32"));
            EXPECT_THAT(error.what(), HasSubstr("iconv"));
          }
        }
      }
    }
  }
}

TEST(FileKinds, TextWithZeroBytesIsNotTakenForUtf16) {
  std::mt19937_64 random(33);
  const std::string text = "Tom ran to the park. Mia sat on a bench and sang.\n";
  check_is_text(text + std::string(4096, '\0'), "in.txt");
  check_is_text(std::string(8192, '\0'), "in.txt");
  check_is_text(std::string("a\0b", 3), "in.txt");
  for (int round = 0; round < 300; ++round) {
    std::string some;
    while (some.size() < 4000) some += text;
    for (int i = 0; i < 20 + round; ++i) some[random() % some.size()] = '\0';
    check_is_text(some, "in.txt");
  }
}

TEST(FileKinds, ArchivesAreNamed) {
  std::string tar(512, '\0');
  tar.replace(0, 7, "a/b.txt");
  tar.replace(257, 5, "ustar");
  EXPECT_THROW(check_is_text(tar, "in.txt"), DataError);
  EXPECT_THROW(check_is_text("\x1F\x8B\x08 gzip", "in.txt.gz"), DataError);
}

}  // namespace
}  // namespace kangpt::data
