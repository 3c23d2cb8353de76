#include "operations/operations.hpp"

#include "base/processor/processor.hpp"

namespace kangpt::operations {
namespace {

OperationsMaker cuda_maker = nullptr;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace

void use_cuda_operations(OperationsMaker maker) {
  cuda_maker = maker;
}

Kernels kernels_of(const at::Device& device) {
  if (device.is_cpu()) return Kernels::kCpu;
  return cuda_maker == nullptr ? Kernels::kAten : Kernels::kCuda;
}

std::unique_ptr<Operations> make_operations(Kernels kernels, config::Precision precision) {
  if (kernels == Kernels::kCuda) return cuda_maker(precision);
  if (kernels == Kernels::kAten) return make_aten_operations(precision);
  const bool can_round = base::bfloat16_products() != base::Bfloat16Products::kNone;
  return make_cpu_operations(can_round ? precision : config::Precision::kFp32);
}

}  // namespace kangpt::operations
