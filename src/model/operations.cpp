#include "model/operations.hpp"

namespace kangpt::model {

std::unique_ptr<Operations> make_operations(const at::Device& device) {
  return device.is_cpu() ? make_cpu_operations() : make_aten_operations();
}

}  // namespace kangpt::model
