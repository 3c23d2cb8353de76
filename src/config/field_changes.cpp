#include "config/field_changes.hpp"

#include "base/format.hpp"
#include "config/field_value.hpp"
#include "config/schema_values.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string values_text(const Message& section, const FieldDescriptor& field) {
  const int count = field.is_repeated() ? section.GetReflection()->FieldSize(section, &field) : 1;
  std::vector<std::string> values;
  for (int i = 0; i < count; ++i) values.push_back(value_text(section, field, i));
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
  const proto::RunConfig old_root = to_message(before), new_root = to_message(now);
  std::vector<FieldChange> changes;
  for (int i = 0; i < old_root.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& section = *old_root.GetDescriptor()->field(i);
    const Message& old_section = old_root.GetReflection()->GetMessage(old_root, &section);
    const Message& new_section = new_root.GetReflection()->GetMessage(new_root, &section);
    for (int j = 0; j < section.message_type()->field_count(); ++j) {
      const FieldDescriptor& field = *section.message_type()->field(j);
      FieldChange change{field_path(field), values_text(old_section, field), values_text(new_section, field)};
      if (change.before != change.now) changes.push_back(std::move(change));
    }
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
