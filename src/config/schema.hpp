// configs/run_config.proto as its descriptors know it: all settings, and what each says of its values beside the type.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kangpt::config {

// A RunConfig of the schema in which nothing is set.
std::unique_ptr<google::protobuf::Message> new_configuration();

// The fields of all sections, in order.
std::vector<const google::protobuf::FieldDescriptor*> setting_fields();

// The section of `root` that has the field.
const google::protobuf::Message& section_of(const google::protobuf::Message& root,
                                            const google::protobuf::FieldDescriptor& field);

// The numbers that are valid for a field: its option (range).
struct NumberRange {
  double minimum = 0;
  double maximum = 0;          // infinite: none, but only finite numbers are valid
  bool includes_zero = false;  // beside those between the bounds
  std::string text;            // "from 1 to 1024", "1 or more"

  bool contains(double value) const;
};
std::optional<NumberRange> number_range(const google::protobuf::FieldDescriptor& field);

// Whether a text is a path, and whether it has to name something: its option (path).
enum class PathKind { kNone, kFileOrFolder, kFolder };
PathKind path_kind(const google::protobuf::FieldDescriptor& field);

}  // namespace kangpt::config
