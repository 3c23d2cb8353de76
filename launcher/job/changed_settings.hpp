// What is set otherwise than in the start that a run goes on from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/configuration.hpp"
#include "config/field_changes.hpp"

namespace kangpt::launcher {

// One start's settings, and what else its results depend on.
struct StartSettings {
  config::RunConfig config;
  std::uint64_t total_steps = 0;
  std::string program_version = {};
  std::string training_data = {};    // identifies the tokens
  std::string validation_data = {};  // the same; empty: not known, or none
};

// What has changed, but for fields that only say how and where a run goes on. Throws ConfigError where a field makes
// another run of it, unless data.accept_changed is set in `now`. `step`: behind which the run goes on.
std::vector<config::FieldChange> changed_settings(const StartSettings& before, const StartSettings& now,
                                                  std::uint64_t step);

// The changes for the user, a line each for the fields and for what follows from them; none where there are none.
std::vector<std::string> describe_changes(const std::vector<config::FieldChange>& changes, const StartSettings& before,
                                          const StartSettings& now, std::uint64_t step);

}  // namespace kangpt::launcher
