// The settings as configs/run_config.proto explains them, for the terminal.
#pragma once

#include <string>
#include <vector>

namespace kangpt::config {

struct HelpStyle {
  int columns = 80;
  bool colours = false;
};

// Of every field of a section its type, default and comment, wrapped. `name`: a section ("optimizer"), a field
// ("optimizer.schedule") or "" for all sections. Throws UsageError with the names that are valid.
std::string help_text(const std::string& name, const HelpStyle& style);

// What can be set, for a shell to complete.
struct SettingChoices {
  std::string field;                 // "optimizer.schedule"
  std::vector<std::string> choices;  // COSINE, CONSTANT; none where the type has too many values
};
std::vector<SettingChoices> setting_choices();

}  // namespace kangpt::config
