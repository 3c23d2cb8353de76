// Views of single parameters, and of their gradients, in the flat buffers.
#pragma once

#include <string>

#include "base/parameter_table.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

// One parameter. Both tensors view flat buffers and have the parameter's shape.
struct Parameter {
  at::Tensor value;
  at::Tensor gradient;  // undefined where the network has no gradient buffer
};

// A dense or depthwise layer: weight [out, ...], bias [out].
struct LayerParameters {
  Parameter weight;
  Parameter bias;
};

// Finds parameters by name. Borrows the table: it must outlive this object.
class ParameterViews {
 public:
  // `parameters` and `gradients` (may be undefined): 1-D, at least table.flat_size elements, of one dtype and device.
  // Throws InternalError otherwise.
  ParameterViews(const base::ParameterTable& table, at::Tensor parameters, at::Tensor gradients);

  // Throws InternalError if the table lacks `name`.
  Parameter parameter(const std::string& name) const;
  // NAME.weight and NAME.bias.
  LayerParameters layer(const std::string& name) const;

  const at::Tensor& flat_parameters() const noexcept { return parameters_; }

 private:
  const base::ParameterTable& table_;
  at::Tensor parameters_;
  at::Tensor gradients_;
};

}  // namespace kangpt::operations
