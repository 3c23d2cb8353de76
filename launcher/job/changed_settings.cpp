#include "launcher/job/changed_settings.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>
#include <string_view>

#include "base/error.hpp"
#include "training/learning_rate.hpp"

namespace kangpt::launcher {
namespace {

// Where a run lies, how it is to go on, and what changes no bit. Threads are compared by their number, which 0 leaves
// open.
constexpr std::array<std::string_view, 5> kOfNoConsequence = {"run.directory", "run.threads", "checkpoint.resume",
                                                              "data.accept_changed", "train.recompute"};
// Which samples are learnt from, and in which order.
constexpr std::array<std::string_view, 2> kMakesAnotherRun = {"data.mode", "data.shuffle"};
constexpr const char* kProgramVersion = "program version";
constexpr const char* kTrainingData = "training data";
constexpr const char* kValidationData = "validation data";

struct Consequence {
  std::string_view field;
  const char* text;
};
constexpr std::array<Consequence, 5> kConsequences = {
    {{"model.initial_weights", "; it is not read, since the checkpoint has weights"},
     {"optimizer.ema_decay", "; an average that is new begins with the weights there"},
     {kProgramVersion, "; results may differ in their last bits"},
     {kTrainingData, "; the run is no longer the one that an undisturbed start gives"},
     {kValidationData, "; losses on them don't compare"}}};

void refuse_another_run(const config::FieldChange& change, std::uint64_t step) {
  throw ConfigError(
      change.field + " was " + change.before + " up to step " + std::to_string(step) + ", this start has " +
      change.now +
      "; keep that value, or start another run: --set run.directory=PATH; or go on all the same, as a run "
      "that no undisturbed start gives: --set data.accept_changed=true");
}

// "" unless the rate of the next step is another than it would have been, or than that of the last step was where no
// more were meant to follow.
std::string describe_rate(const StartSettings& before, const StartSettings& now, std::uint64_t step) {
  constexpr double kSmallestJump = 0.01;  // relative
  const std::uint64_t compared = std::min(step + 1, std::max(before.total_steps, step));
  const double old_rate = training::learning_rate(before.config.optimizer, compared, before.total_steps);
  const double new_rate = training::learning_rate(now.config.optimizer, step + 1, now.total_steps);
  if (std::abs(new_rate - old_rate) <= kSmallestJump * std::max(new_rate, old_rate)) return "";
  std::ostringstream text;
  text.precision(3);
  text << "the learning rate of step " << step + 1 << " is " << new_rate << ", with the settings before ";
  text << (compared > step ? "it was " : "that of step " + std::to_string(step) + ", the last, was ") << old_rate;
  return text.str();
}

}  // namespace

std::vector<config::FieldChange> changed_settings(const StartSettings& before, const StartSettings& now,
                                                  std::uint64_t step) {
  std::vector<config::FieldChange> changes = config::field_changes(before.config, now.config);
  std::erase_if(changes, [](const config::FieldChange& change) {
    return std::ranges::find(kOfNoConsequence, change.field) != kOfNoConsequence.end();
  });
  for (const config::FieldChange& change : changes) {
    const bool is_another = std::ranges::find(kMakesAnotherRun, change.field) != kMakesAnotherRun.end();
    if (is_another && !now.config.data.accept_changed) refuse_another_run(change, step);
  }
  const auto add = [&](const char* field, const std::string& old_value, const std::string& new_value) {
    if (!old_value.empty() && old_value != new_value) changes.push_back({field, old_value, new_value});
  };
  add(kProgramVersion, before.program_version, now.program_version);
  add(kTrainingData, before.training_data, now.training_data);
  add(kValidationData, before.validation_data, now.validation_data);
  return changes;
}

std::vector<std::string> describe_changes(const std::vector<config::FieldChange>& changes, const StartSettings& before,
                                          const StartSettings& now, std::uint64_t step) {
  std::vector<std::string> lines;
  for (const config::FieldChange& change : changes) {
    const auto consequence = std::ranges::find(kConsequences, change.field, &Consequence::field);
    lines.push_back(change.field + " changes from " + change.before + " to " +
                    (change.now.empty() ? "none" : change.now) + " behind step " + std::to_string(step) +
                    (consequence != kConsequences.end() ? consequence->text : ""));
  }
  if (const std::string rate = describe_rate(before, now, step); !changes.empty() && !rate.empty())
    lines.push_back(rate);
  return lines;
}

}  // namespace kangpt::launcher
