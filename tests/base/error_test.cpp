#include "base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <new>

namespace kangpt {
namespace {

using ::testing::HasSubstr;

template <typename Exception>
int throwing(int, char**) {
  if constexpr (std::is_constructible_v<Exception, std::string>) {
    throw Exception(std::string("the reason"));
  } else {
    throw Exception();
  }
}

int returning(int argc, char**) {
  return argc;
}

TEST(RunProgram, TurnsEachErrorIntoItsExitCode) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run_program("p", throwing<UsageError>, 0, nullptr), 64);
  EXPECT_EQ(run_program("p", throwing<DataError>, 0, nullptr), 65);
  EXPECT_EQ(run_program("p", throwing<CheckpointError>, 0, nullptr), 65);
  EXPECT_EQ(run_program("p", throwing<MissingInputError>, 0, nullptr), 66);
  EXPECT_EQ(run_program("p", throwing<CommunicationError>, 0, nullptr), 70);
  EXPECT_EQ(run_program("p", throwing<InternalError>, 0, nullptr), 70);
  EXPECT_EQ(run_program("p", throwing<std::runtime_error>, 0, nullptr), 70);
  EXPECT_EQ(run_program("p", throwing<std::bad_alloc>, 0, nullptr), 70);
  EXPECT_EQ(run_program("p", throwing<IoError>, 0, nullptr), 74);
  EXPECT_EQ(run_program("p", throwing<ConfigError>, 0, nullptr), 78);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("p: error: the reason\n"));
}

TEST(RunProgram, PassesResultAndArgumentsOn) {
  EXPECT_EQ(run_program("p", returning, 3, nullptr), 3);
}

TEST(ThrowIoError, SaysWhatWhereWhyAndHowToGoOn) {
  const auto message = [](int errno_value) -> std::string {
    try {
      throw_io_error("cannot write", "runs/x", errno_value);
    } catch (const IoError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message(EIO), "cannot write runs/x: Input/output error");
  EXPECT_THAT(message(ENOSPC), HasSubstr("free some space"));
  EXPECT_THAT(message(EACCES), HasSubstr("choose a directory"));
}

}  // namespace
}  // namespace kangpt
