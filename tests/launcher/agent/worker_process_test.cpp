// Workers that do not end.
#include "launcher/agent/worker_process.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"
#include "tests/support/files.hpp"

namespace kangpt::launcher {
namespace {

using ::testing::HasSubstr;

// The end of a process that another one traces is not seen by its parent before that one has seen it: as if it hung in
// a driver. -1 where nobody may trace here.
pid_t trace(pid_t pid) {
  int ready[2];
  if (::pipe(ready) != 0) return -1;
  const pid_t tracer = ::fork();
  if (tracer == 0) {
    const bool traces = ::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0;
    [[maybe_unused]] const ssize_t written = ::write(ready[1], traces ? "y" : "n", 1);
    for (;;) ::pause();
  }
  char answer = 'n';
  const ssize_t size = ::read(ready[0], &answer, 1);
  for (const int fd : ready) ::close(fd);
  if (size == 1 && answer == 'y') return tracer;
  ::kill(tracer, SIGKILL);
  ::waitpid(tracer, nullptr, 0);
  return -1;
}

TEST(WorkerProcessTest, OneThatDoesNotEndOfSigkillEndsTheJobOnThisNode) {
  const test::TemporaryDirectory folder;
  test::write_text(folder / "worker", "#!/bin/sh\nexec sleep 100\n");
  test::fs::permissions(folder / "worker", test::fs::perms::owner_all);
  const WorkerProgram program(folder / "worker");
  WorkerProcess worker({.program = &program, .cpus = {}});
  const pid_t tracer = trace(worker.pid());
  if (tracer < 0) GTEST_SKIP() << "no process may trace another one here";
  try {
    worker.kill(0.3);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kGaveUp);
    EXPECT_THAT(error.what(), HasSubstr("hangs in the kernel"));
  }
  ::kill(tracer, SIGKILL);
  ::waitpid(tracer, nullptr, 0);
  EXPECT_EQ(worker.kill().signal, SIGKILL);
}

}  // namespace
}  // namespace kangpt::launcher
