// Reads protobuf text format into a message and reports all errors, not just the first.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/token_stream.hpp"

namespace kangpt::config {

struct TextPosition {
  int line = 0;    // from 1
  int column = 0;  // from 1
};

struct TextFields {
  std::map<std::string, TextPosition> positions;  // "optimizer.learning_rate" -> where it is set first
  std::vector<TextError> errors;                  // in the order of the text
};

// Sets in `root`, a message of sections, whatever `text` has right. A section may stand several times, a field that is
// not repeated once. google::protobuf::TextFormat accepts the same texts but stops at the first error.
TextFields read_text(std::string_view text, google::protobuf::Message& root);

// A repeated field of a section whose values have fields of their own.
struct GroupField {
  google::protobuf::Message& message;
  const google::protobuf::FieldDescriptor& field;
};

// Adds to `target`, in a section of `root`, the values that `text` holds and nothing else: "{ directory: 'a' }, { ...
// }" or the same in one pair of square brackets.
TextFields read_groups(std::string_view text, const GroupField& target, google::protobuf::Message& root);

}  // namespace kangpt::config
