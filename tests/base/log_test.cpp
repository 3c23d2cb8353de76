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

}  // namespace
}  // namespace kangpt::base
