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
