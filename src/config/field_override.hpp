// One "section.field=value" of the command line.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace kangpt::config {

struct FieldOverride {
  std::string field;         // "optimizer.learning_rate"; as far as it is known if there was an error
  std::string error;         // "" or what is wrong
  bool is_appended = false;  // to the values that the field had before
};

// Sets one field of `root`. Texts need no quotes. A list takes the values between commas instead of those it has
// (model.dilation=1,2,4 or, as in a file, [1, 2, 4]; data.source=[{directory: "a"}, {directory: "b"}]); a list of texts
// gets the value appended (fault.inject=...), and no value empties it.
FieldOverride apply_override(const std::string& argument, google::protobuf::Message& root);

}  // namespace kangpt::config
