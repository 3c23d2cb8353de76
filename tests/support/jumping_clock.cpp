// For LD_PRELOAD: the wall clock jumps to and fro by KANGPT_CLOCK_JUMP seconds, every 0.2 s. All processes on a machine
// see the same time; the clocks that nobody can set, such as CLOCK_MONOTONIC, go on as they are.
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

constexpr long kHalfPeriodMilliseconds = 200;

std::time_t offset_seconds() noexcept {
  const char* const jump = std::getenv("KANGPT_CLOCK_JUMP");
  timespec uptime{};
  if (jump == nullptr || ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &uptime) != 0) return 0;
  const long milliseconds = uptime.tv_sec * 1000 + uptime.tv_nsec / 1'000'000;
  const std::time_t seconds = std::atol(jump);
  return milliseconds / kHalfPeriodMilliseconds % 2 == 0 ? seconds : -seconds;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += offset_seconds();
  return result;
}

int gettimeofday(timeval* time, void* /*zone*/) noexcept {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  *time = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

std::time_t time(std::time_t* result) noexcept {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  if (result != nullptr) *result = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
