// The numbers of a tensor, by the shortest name: kernels take raw pointers, and a call takes up to ten of them.
#pragma once

#include <ATen/core/Tensor.h>

namespace kangpt::operations::cpu {

template <class T>
const T* data(const at::Tensor& tensor) {
  return tensor.const_data_ptr<T>();
}

template <class T>
T* mutable_data(const at::Tensor& tensor) {
  return tensor.mutable_data_ptr<T>();
}

}  // namespace kangpt::operations::cpu
