#include "tests/support/program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/support/files.hpp"

namespace kangpt::test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(RunProgram, CapturesOutputAndExitCode) {
  const ProgramResult result = run_program({"sh", "-c", "echo out; echo err >&2; exit 7"});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(result.stdout_text, "out\n");
  EXPECT_EQ(result.stderr_text, "err\n");
  EXPECT_THAT(result.left_running, IsEmpty());
}

TEST(RunProgram, PassesInputEnvironmentAndFolder) {
  const TemporaryDirectory folder;
  const ProgramResult result = run_program(
      {"sh", "-c", "cat; echo $KANGPT_WORD; pwd"},
      {.environment = {{"KANGPT_WORD", "hedgehog"}}, .working_directory = folder.path(), .stdin_text = "input "});
  EXPECT_EQ(result.stdout_text, "input hedgehog\n" + folder.path().string() + "\n");
}

TEST(RunProgram, CapturesMoreThanAPipeHolds) {
  EXPECT_EQ(run_program({"head", "-c", "3000000", "/dev/zero"}).stdout_text.size(), 3000000U);
}

TEST(RunProgram, ReportsTheSignal) {
  const ProgramResult result = run_program({"sh", "-c", "kill -SEGV $$"});
  EXPECT_EQ(result.signal, SIGSEGV);
  EXPECT_EQ(result.exit_code, -1);
}

TEST(RunProgram, KillsGrandchildrenAtTheTimeOut) {
  BackgroundProgram program({"sh", "-c", "(sleep 1000 & sleep 1000)"}, {.timeout_seconds = 0.5});
  const ProgramResult result = program.wait();
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.signal, SIGKILL);
  EXPECT_THAT(program.processes(), IsEmpty());
}

TEST(RunProgram, NamesWhatItsProgramLeftRunning) {
  const ProgramResult result = run_program({"sh", "-c", "sleep 1000 &"});
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.left_running, Contains(HasSubstr("sleep 1000")));
}

TEST(RunProgram, ThrowsForAMissingProgram) {
  EXPECT_THROW(run_program({"kangpt_no_such_program"}), std::runtime_error);
}

TEST(BackgroundProgram, SeesOutputAndReceivesSignals) {
  BackgroundProgram program({"sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done"});
  ASSERT_TRUE(program.wait_for_output("ready"));
  EXPECT_TRUE(program.running());
  program.send_signal(SIGTERM);
  const ProgramResult result = program.wait();
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.stdout_text, "ready\ncaught\n");
}

TEST(BackgroundProgram, StopsWaitingForOutputWhenTheProgramEnds) {
  BackgroundProgram program({"true"});
  EXPECT_FALSE(program.wait_for_output("never"));
}

}  // namespace
}  // namespace kangpt::test
