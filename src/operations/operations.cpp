#include "operations/operations.hpp"

#include "base/processor/processor.hpp"
#include "operations/cuda_makers.hpp"

namespace kangpt::operations {

CudaMakers& cuda_makers() {
  static CudaMakers makers;
  return makers;
}

Kernels kernels_of(const at::Device& device) {
  if (device.is_cpu()) return Kernels::kCpu;
  return cuda_makers().operations == nullptr ? Kernels::kAten : Kernels::kCuda;
}

std::unique_ptr<Operations> make_operations(Kernels kernels, config::Precision precision) {
  if (kernels == Kernels::kCuda) return cuda_makers().operations(precision);
  if (kernels == Kernels::kAten) return make_aten_operations(precision);
  const bool can_round = base::bfloat16_products() != base::Bfloat16Products::kNone;
  return make_cpu_operations(can_round ? precision : config::Precision::kFp32);
}

}  // namespace kangpt::operations
