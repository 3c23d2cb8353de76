#include "launcher/agent/hang_detector.hpp"

#include <algorithm>
#include <utility>

namespace kangpt::launcher {
namespace {

constexpr double kFactor = 20;
constexpr double kFloorSeconds = 20;
constexpr double kCeilingSeconds = 600;
constexpr double kUnseenSeconds = 300;
constexpr double kPatientFactor = 10;      // of a fixed time-out, for the start and what is new
constexpr double kPatienceWithOthers = 2;  // times the longest time-out that their agents grant them
constexpr double kLongestGapSeconds = 1;

}  // namespace

std::size_t HangDetector::index_of(std::uint32_t phase) const noexcept {
  return std::min<std::size_t>(phase, longest_seconds_.size() - 1);
}

void HangDetector::restart(Clock::time_point now) {
  last_ = {};
  last_look_ = now;
  silent_seconds_ = 0;
}

// A phase of every step that was never seen is too short to be seen.
bool HangDetector::is_new(std::uint32_t phase) const noexcept {
  if (longest_seconds_[index_of(phase)] > 0) return false;
  const bool of_every_step = phase >= static_cast<std::uint32_t>(training::Phase::kData) &&
                             phase <= static_cast<std::uint32_t>(training::Phase::kSnapshot);
  return !of_every_step || steps_seen_ < 2;
}

double HangDetector::timeout_seconds(std::uint32_t phase) const {
  const bool patient = is_new(phase) || phase == static_cast<std::uint32_t>(training::Phase::kStart);
  if (fixed_seconds_ > 0) return patient ? kPatientFactor * fixed_seconds_ : fixed_seconds_;
  const double learnt = std::clamp(kFactor * longest_seconds_[index_of(phase)], kFloorSeconds, kCeilingSeconds);
  return is_new(phase) ? kUnseenSeconds : learnt;
}

double HangDetector::longest_timeout_seconds() const noexcept {
  return fixed_seconds_ > 0 ? kPatientFactor * fixed_seconds_ : kCeilingSeconds;
}

std::optional<double> HangDetector::look(const WorkerActivity& activity, Clock::time_point now) {
  const double passed = std::chrono::duration<double>(now - std::exchange(last_look_, now)).count();
  const bool moved = activity.step != last_.step || activity.phase != last_.phase ||
                     activity.messages != last_.messages || activity.progress != last_.progress ||
                     activity.collective != last_.collective || activity.turn != last_.turn;
  const bool waited = last_.collective != 0;
  double& longest = longest_seconds_[index_of(last_.phase)];
  if (last_.turn == WorkerActivity::Turn::kWorker) silent_seconds_ += std::min(passed, kLongestGapSeconds);
  if (moved) {
    if (!waited) longest = std::max(longest, silent_seconds_);
    if (activity.step != last_.step) ++steps_seen_;
    last_ = activity;
    silent_seconds_ = 0;
    return std::nullopt;
  }
  const double timeout = waited ? kPatienceWithOthers * longest_timeout_seconds() : timeout_seconds(last_.phase);
  if (silent_seconds_ <= timeout) return std::nullopt;
  if (!waited) longest = std::max(longest, 2 * silent_seconds_ / kFactor);
  return std::exchange(silent_seconds_, 0);
}

}  // namespace kangpt::launcher
