// Single values of configuration fields: from tokens, to text, and the names that are valid for them.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "config/token_stream.hpp"

namespace kangpt::config {

// Reads one value at the stream's position, and sets the field to it or, for a repeated one, appends it. Returns "" or
// what is wrong; then the stream is where the value should have been or inside it.
std::string read_value(TokenStream& tokens, google::protobuf::Message& message,
                       const google::protobuf::FieldDescriptor& field);

// The value as text format; numbers in the shortest form that reads back to the same bits. `index` for repeated fields.
std::string value_text(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field,
                       int index = 0);

// All values of a field: one, or those of a repeated field.
std::vector<std::string> value_texts(const google::protobuf::Message& message,
                                     const google::protobuf::FieldDescriptor& field);

// What a value of the field looks like: "a whole number", "one of CPU, CUDA".
std::string value_kind(const google::protobuf::FieldDescriptor& field);

// "optimizer.learning_rate", "data.source.weight"; the name alone for a section.
std::string field_path(const google::protobuf::FieldDescriptor& field);

std::vector<std::string> field_names(const google::protobuf::Descriptor& message);

struct UnknownName {
  std::string message;     // "unknown field 'x' in train; did you mean 'y'? Valid: ..."
  std::string suggestion;  // "y" or ""
};
// `what` is "field 'lerning_rate' in optimizer" or the like.
UnknownName unknown_name(const std::string& what, const std::string& name, const std::vector<std::string>& valid);

}  // namespace kangpt::config
