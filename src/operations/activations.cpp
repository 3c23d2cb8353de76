#include "operations/activations.hpp"

namespace kangpt::operations {

std::unique_ptr<Activations> make_activations(Kernels kernels) {
  return kernels == Kernels::kCpu ? make_cpu_activations() : make_aten_activations();
}

}  // namespace kangpt::operations
