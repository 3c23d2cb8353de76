#include "operations/operations.hpp"

#include "base/processor.hpp"

namespace kangpt::operations {

std::unique_ptr<Operations> make_operations(const at::Device& device, config::Precision precision) {
  if (!device.is_cpu()) return make_aten_operations(precision);
  const bool can_round = base::bfloat16_products() != base::Bfloat16Products::kNone;
  return make_cpu_operations(can_round ? precision : config::Precision::kFp32);
}

}  // namespace kangpt::operations
