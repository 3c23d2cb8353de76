#include "operations/activations.hpp"

#include "operations/cuda_makers.hpp"

namespace kangpt::operations {

std::unique_ptr<Activations> make_activations(Kernels kernels) {
  if (kernels == Kernels::kCuda) return cuda_makers().activations();
  return kernels == Kernels::kCpu ? make_cpu_activations() : make_aten_activations();
}

}  // namespace kangpt::operations
