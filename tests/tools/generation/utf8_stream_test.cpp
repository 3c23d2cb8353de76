#include "tools/generation/utf8_stream.hpp"

#include <gtest/gtest.h>

namespace kangpt::tools {
namespace {

constexpr std::string_view kText = "a\u00e9\u4e2d\U0001f600z";  // characters of 1, 2, 3, 4 and 1 bytes

TEST(Utf8StreamTest, EveryCutGivesWholeCharactersAndAllBytes) {
  for (std::size_t first = 0; first <= kText.size(); ++first) {
    for (std::size_t second = first; second <= kText.size(); ++second) {
      Utf8Stream stream;
      std::string shown;
      for (const std::string_view piece :
           {kText.substr(0, first), kText.substr(first, second - first), kText.substr(second)}) {
        shown += stream.add(piece);
        const bool at_boundary = shown.size() == kText.size() || (kText[shown.size()] & 0xC0) != 0x80;
        EXPECT_TRUE(at_boundary) << "cuts at " << first << " and " << second;
      }
      EXPECT_EQ(shown, kText);
      EXPECT_EQ(stream.finish(), "");
    }
  }
}

TEST(Utf8StreamTest, BytesThatAreNoTextAreNotHeldBack) {
  Utf8Stream stream;
  for (const std::string bytes : {"\xff", "\x80", "\xc0", "\xf8", "\x80\x80\x80\x80"})
    EXPECT_EQ(stream.add(bytes), bytes);
}

TEST(Utf8StreamTest, ABeginningComesOutAtTheEnd) {
  Utf8Stream stream;
  EXPECT_EQ(stream.add("x\xf0\x9f"), "x");
  EXPECT_EQ(stream.finish(), "\xf0\x9f");
  EXPECT_EQ(stream.add("y"), "y");
}

}  // namespace
}  // namespace kangpt::tools
