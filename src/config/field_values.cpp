#include "config/field_values.hpp"

#include "base/format.hpp"
#include "config/field_value.hpp"
#include "config/schema.hpp"
#include "config/schema_values.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string list_text(const Message& section, const FieldDescriptor& field) {
  const std::vector<std::string> values = value_texts(section, field);
  return values.size() == 1 ? values.front() : "[" + base::join(values, ", ") + "]";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> field_values(const RunConfig& config) {
  const std::unique_ptr<Message> root = to_message(config);
  std::vector<std::pair<std::string, std::string>> values;
  for (const FieldDescriptor* const field : setting_fields())
    values.emplace_back(field_path(*field), list_text(section_of(*root, *field), *field));
  return values;
}

}  // namespace kangpt::config
