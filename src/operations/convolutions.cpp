#include "operations/convolutions.hpp"

namespace kangpt::operations {

std::unique_ptr<Convolutions> make_convolutions(Kernels kernels) {
  return kernels == Kernels::kCpu ? make_cpu_convolutions() : make_aten_convolutions();
}

}  // namespace kangpt::operations
