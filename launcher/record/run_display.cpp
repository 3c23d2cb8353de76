#include "launcher/record/run_display.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"

namespace kangpt::launcher {
namespace {

constexpr std::uint64_t kStepsOfPace = 3;
constexpr double kSecondsOfPace = 2;

template <typename... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, args...);
  return buffer.data();
}

}  // namespace

// By the clock, so that validations and checkpoints count too. The first step takes longer than the others.
double RunDisplay::seconds_a_step(const StepNumbers& step) {
  if (steps_timed_++ == 0) {
    timed_since_ = Clock::now();
    return step.seconds;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - timed_since_).count();
  return seconds / static_cast<double>(steps_timed_ - 1);
}

void RunDisplay::step(const StepNumbers& step) {
  const double done = static_cast<double>(step.step) / static_cast<double>(total_steps_);
  const std::uint64_t steps_left = total_steps_ - std::min(step.step, total_steps_);
  const double left_seconds = static_cast<double>(steps_left) * seconds_a_step(step);
  progress_.show({done,
                  {{"step " + std::to_string(step.step) + "/" + std::to_string(total_steps_), 5},
                   {print(" (%3.0f %%)", 100 * done), 1},
                   {print("  loss %.4f", step.loss), 4},
                   {print("  %.0f tokens/s", step.tokens_per_second), 2},
                   {"  ETA " + base::format_duration(left_seconds), 3}}});
  say_pace(step, left_seconds);
}

void RunDisplay::say_pace(const StepNumbers& step, double left_seconds) {
  if (is_pace_said_ || steps_timed_ <= kStepsOfPace || step.step >= total_steps_) return;
  const std::chrono::duration<double> measured = Clock::now() - timed_since_;
  if (measured.count() < kSecondsOfPace) return;
  is_pace_said_ = true;
  base::log_info("about " + base::format_duration(left_seconds) + " to go, at " +
                 base::format_count(static_cast<std::uint64_t>(step.tokens_per_second)) + " tokens/s");
}

void RunDisplay::validation(const ValidationNumbers& validation) {
  std::ostringstream text;
  text.precision(4);
  text << std::fixed << "step " << validation.step << ": validation loss " << validation.loss << ", perplexity "
       << std::exp(validation.loss) << " (" << base::format_count(validation.tokens) << " tokens in "
       << base::format_duration(validation.seconds) << ")";
  base::log_info(text.str());
}

void RunDisplay::sample(std::uint64_t step, const std::string& text) {
  base::log_info("step " + std::to_string(step) + ", a sample: " + text);
}

void RunDisplay::event(const std::string& name, const nlohmann::json& line, const std::string& message) {
  const bool is_good = name == "start" || name == "restart" || name == "recovered";
  const bool is_end = name == "gave_up" || (name == "failure" && line.at("exit_code") != ExitCode::kInternal);
  (is_good ? base::log_info : is_end ? base::log_error : base::log_warning)(message);
}

}  // namespace kangpt::launcher
