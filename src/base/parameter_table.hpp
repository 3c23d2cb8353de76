// Where each parameter of a model lies in the flat buffer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.hpp"

namespace kangpt::base {

struct ParameterEntry {
  std::string name;                 // "layers.0.kan.coefficients"
  std::vector<std::int64_t> shape;  // [128, 128, 9]
  std::uint64_t offset = 0;         // first element in the flat buffer, a multiple of 16
  std::uint64_t size = 0;           // elements

  KANGPT_FIELDS(name, shape, offset)
  bool operator==(const ParameterEntry&) const = default;
};

// Entries in the order of the flat buffer, without overlap. The gaps that alignment leaves hold zeros for ever.
struct ParameterTable {
  std::vector<ParameterEntry> entries;
  std::uint64_t flat_size = 0;        // elements up to the end of the last entry, gaps counted
  std::uint64_t parameter_count = 0;  // elements without gaps

  bool operator==(const ParameterTable&) const = default;
};

}  // namespace kangpt::base
