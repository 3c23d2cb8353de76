#include "operations/convolutions.hpp"

namespace kangpt::operations {

std::unique_ptr<Convolutions> make_convolutions(const at::Device& device) {
  return device.is_cpu() ? make_cpu_convolutions() : make_aten_convolutions();
}

}  // namespace kangpt::operations
