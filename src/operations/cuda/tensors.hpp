// Between LibTorch's tensors and the kernels' pointers.
#pragma once

#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>

#include "operations/cuda/kernels.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations::cuda {

// LibTorch's current one of the tensor's device; none on the CPU, where the kernels are emulated.
inline Stream stream_of(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return nullptr;
  const c10::impl::VirtualGuardImpl devices(tensor.device().type());
  return devices.getStream(tensor.device()).native_handle();
}

inline const float* read(const at::Tensor& tensor) {
  return tensor.const_data_ptr<float>();
}
inline float* written(const at::Tensor& tensor) {
  return tensor.mutable_data_ptr<float>();
}

// What a kernel does with a whole tensor, of any layout.
inline MemoryUse read_by(const at::Tensor& tensor) {
  std::int64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  const std::int64_t element = static_cast<std::int64_t>(tensor.element_size());
  return {tensor.const_data_ptr(), (last + 1) * element, tensor.numel() * element, 0};
}
inline MemoryUse written_by(const at::Tensor& tensor) {
  const MemoryUse use = read_by(tensor);
  return {use.begin, use.bytes, 0, use.read_bytes};
}
inline MemoryUse updated_by(const at::Tensor& tensor) {
  const MemoryUse use = read_by(tensor);
  return {use.begin, use.bytes, use.read_bytes, use.read_bytes};
}

// Memory that grows to what was asked for most.
class Reserve {
 public:
  at::Tensor take(at::IntArrayRef sizes, const at::TensorOptions& options) {
    const std::int64_t count = c10::multiply_integers(sizes);
    if (!memory_.defined() || memory_.numel() < count) memory_ = at::empty({count}, options);
    return memory_.narrow(0, 0, count).view(sizes);
  }

 private:
  at::Tensor memory_;
};

}  // namespace kangpt::operations::cuda
