// In which fields two configurations differ.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.hpp"

namespace kangpt::config {

struct FieldChange {
  std::string field;   // "optimizer.learning_rate"
  std::string before;  // as to_text() writes it; a list as "[1, 2]", or its one value
  std::string now;
};

// In the order of the schema.
std::vector<FieldChange> field_changes(const RunConfig& before, const RunConfig& now);

// The fields in which two networks differ, whether they mean something to them or not: "model.layers is 4, not 2;
// data.sequence_length is ...". Where the weights come from and how they are multiplied is no part of a network.
std::string differing_network_fields(const ModelConfig& is, const ModelConfig& is_not);

}  // namespace kangpt::config
