// Reading, checking and printing run configurations (protobuf text format).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/run_config.hpp"

namespace kangpt::config {

struct Configuration {
  RunConfig values;
  std::map<std::string, std::string> origins;  // "optimizer.learning_rate" -> "default", "FILE:12", "--set"
};

// Defaults, then the file (empty path: none; where a relative path leads to nothing, the file of that name beside the
// installed programs), then each "section.field=value" of `overrides`. Collects all errors and
// throws one ConfigError (MissingInputError if the file does not exist) with a line each:
// "FILE:LINE:COLUMN: unknown field 'lerning_rate' in optimizer; did you mean 'learning_rate'?".
Configuration load_configuration(const std::string& file, const std::vector<std::string>& overrides);

// The same from text, for tests and for workers. `name` stands for the file in messages.
Configuration parse_configuration(std::string_view text, const std::string& name = "configuration");

// optimizer.muon_learning_rate where nothing is said: it follows optimizer.learning_rate.
double usual_muon_learning_rate(const OptimizerSection& optimizer);

// All fields, resolved, in schema order; parse_configuration() of it gives the same values.
std::string to_text(const RunConfig& config);
// The same with the origin of each value as a comment at the end of its line.
std::string to_annotated_text(const Configuration& configuration);

// What can be checked without data or hardware: ranges and combinations of fields. All problems, one line each.
std::vector<std::string> problems(const RunConfig& config);

// What works but is probably not meant, one line each.
std::vector<std::string> warnings(const RunConfig& config);

}  // namespace kangpt::config
