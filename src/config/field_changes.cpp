#include "config/field_changes.hpp"

#include "base/format.hpp"
#include "config/field_values.hpp"

namespace kangpt::config {
namespace {

// A configuration that says of a run only what its network is.
RunConfig network_only(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  config.model.initial_weights.clear();
  config.model.dropout = 0;
  config.data.sequence_length = model.sequence_length;
  return config;
}

}  // namespace

std::vector<FieldChange> field_changes(const RunConfig& before, const RunConfig& now) {
  const auto old_values = field_values(before), new_values = field_values(now);
  std::vector<FieldChange> changes;
  for (std::size_t i = 0; i < old_values.size(); ++i) {
    const auto& [field, old_value] = old_values[i];
    if (old_value != new_values[i].second) changes.push_back({field, old_value, new_values[i].second});
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
