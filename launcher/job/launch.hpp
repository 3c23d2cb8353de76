// kangpt_dist from the command line to the exit code.
#pragma once

#include <string>
#include <vector>

namespace kangpt::launcher {

struct LaunchOptions {
  std::string config_file;             // empty: the built-in configuration
  std::vector<std::string> overrides;  // "section.field=value"
  enum class Action { kTrain, kPlan, kSaveMemory } action = Action::kTrain;
};

// Runs this rank's agent. The same exit code on every rank. `program_folder` holds kangpt_worker.
int launch(const LaunchOptions& options, const std::string& program_folder);

}  // namespace kangpt::launcher
