#include "config/field_changes.hpp"

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

// A configuration that says of a run only what its network is.
RunConfig network_only(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  config.model.initial_weights.clear();
  config.data.sequence_length = model.sequence_length;
  return config;
}

}  // namespace

std::vector<FieldChange> field_changes(const RunConfig& before, const RunConfig& now) {
  const std::unique_ptr<Message> old_root = to_message(before), new_root = to_message(now);
  std::vector<FieldChange> changes;
  for (const FieldDescriptor* const field : setting_fields()) {
    FieldChange change{field_path(*field), list_text(section_of(*old_root, *field), *field),
                       list_text(section_of(*new_root, *field), *field)};
    if (change.before != change.now) changes.push_back(std::move(change));
  }
  return changes;
}

std::string differing_network_fields(const ModelConfig& is, const ModelConfig& is_not) {
  std::vector<std::string> texts;
  for (const FieldChange& change : field_changes(network_only(is_not), network_only(is))) {
    texts.push_back(change.field + " is " + change.now + ", not " + change.before);
  }
  return base::join(texts, "; ");
}

}  // namespace kangpt::config
