#include "operations/parameter_views.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace kangpt::operations {
namespace {

void check_buffer(const at::Tensor& buffer, std::uint64_t flat_size, const char* name) {
  if (buffer.dim() == 1 && buffer.is_contiguous() && static_cast<std::uint64_t>(buffer.numel()) >= flat_size) return;
  throw InternalError(std::string("model: the ") + name + " buffer must be 1-D, contiguous and have at least " +
                      std::to_string(flat_size) + " elements, but has " + std::to_string(buffer.numel()));
}

at::Tensor view(const at::Tensor& buffer, const base::ParameterEntry& entry) {
  return buffer.narrow(0, static_cast<std::int64_t>(entry.offset), static_cast<std::int64_t>(entry.size))
      .view(entry.shape);
}

}  // namespace

ParameterViews::ParameterViews(const base::ParameterTable& table, at::Tensor parameters, at::Tensor gradients)
    : table_(table), parameters_(std::move(parameters)), gradients_(std::move(gradients)) {
  check_buffer(parameters_, table.flat_size, "parameter");
  if (!gradients_.defined()) return;
  check_buffer(gradients_, table.flat_size, "gradient");
  if (gradients_.dtype() != parameters_.dtype() || gradients_.device() != parameters_.device()) {
    throw InternalError("model: the parameter and gradient buffers must have one dtype and one device");
  }
}

Parameter ParameterViews::parameter(const std::string& name) const {
  const auto entry = std::find_if(table_.entries.begin(), table_.entries.end(),
                                  [&](const base::ParameterEntry& candidate) { return candidate.name == name; });
  if (entry == table_.entries.end()) throw InternalError("model: the parameter table has no entry named " + name);
  return {view(parameters_, *entry), gradients_.defined() ? view(gradients_, *entry) : at::Tensor()};
}

LayerParameters ParameterViews::layer(const std::string& name) const {
  return {parameter(name + ".weight"), parameter(name + ".bias")};
}

}  // namespace kangpt::operations
