// Where a worker was when it crashed or hung.
#pragma once

namespace kangpt::launcher {

// The descriptor on which a worker's agent expects the report, see WorkerProcess.
inline constexpr int kCrashReportFd = 200;

// From now on SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGQUIT write the stack of the thread that got them to
// kCrashReportFd, then end the process as they would have. Works on an overflown stack of the calling thread.
void report_crashes();

}  // namespace kangpt::launcher
