#include "base/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kangpt::base {
namespace {

TEST(Log, WritesOneLineAMessageWithLevelAndName) {
  ::testing::internal::CaptureStderr();
  start_log("program[rank 1]");
  log_info("first {}");
  log_warning("second");
  log_error("third");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              ::testing::MatchesRegex("[0-9:]+ info program.rank 1.: first ..\n"
                                      "[0-9:]+ warning program.rank 1.: second\n"
                                      "[0-9:]+ error program.rank 1.: third\n"));
}

// Text of a network or a file must not move the cursor.
TEST(Log, ShowsControlCharactersAsText) {
  ::testing::internal::CaptureStderr();
  start_log("program");
  log_info("a\rb\x1b[31mc\td\ne\x7f");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::EndsWith("a\\x0db\\x1b[31mc\td\ne\\x7f\n"));
}

// A file is no terminal.
TEST(Log, DrawsNoStatusInAFile) {
  ::testing::internal::CaptureStderr();
  start_log("program");
  EXPECT_FALSE(show_status([](const LineStyle&) { return "status"; }));
  redraw_status();
  end_status();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace kangpt::base
