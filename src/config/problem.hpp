// What is wrong with the values of a configuration, and which fields it concerns.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.hpp"

namespace google::protobuf {
class Message;
}

namespace kangpt::config {

struct Problem {
  std::vector<std::string> fields;  // the first one is the one the message begins with
  std::string message;              // "model.heads is 7: must divide model.d_model (128); valid: 1, 2, 4"
};

// Section by section: first what each field is by itself, then what does not go together.
std::vector<Problem> find_problems(const RunConfig& config);

// Of single fields, against what the schema says beside them: ranges, folders without a name.
std::vector<Problem> field_problems(const google::protobuf::Message& configuration);

}  // namespace kangpt::config
