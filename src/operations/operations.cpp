#include "operations/operations.hpp"

#include "base/processor/processor.hpp"

namespace kangpt::operations {

Kernels kernels_of(const at::Device& device) {
  return device.is_cpu() ? Kernels::kCpu : Kernels::kAten;
}

std::unique_ptr<Operations> make_operations(Kernels kernels, config::Precision precision) {
  if (kernels == Kernels::kAten) return make_aten_operations(precision);
  const bool can_round = base::bfloat16_products() != base::Bfloat16Products::kNone;
  return make_cpu_operations(can_round ? precision : config::Precision::kFp32);
}

}  // namespace kangpt::operations
