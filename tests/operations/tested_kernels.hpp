// What tests of one interface have in common that are built three times: for the CPU; with the kernels for GPUs,
// emulated; and for a GPU. Also gradients by autograd in fp64, to compare with.
#pragma once

#include <array>
#include <tuple>
#include <vector>

#include "operations/operations.hpp"
#include "operations/torch_prefix.hpp"

namespace kangpt::operations::testing {

using Tested = std::tuple<Kernels, at::ScalarType>;
#if defined(KANGPT_TEST_ON_GPU)
inline constexpr at::DeviceType kDevice = at::kCUDA;
inline constexpr std::array kTested = {Tested{Kernels::kAten, at::kFloat}, Tested{Kernels::kAten, at::kDouble},
                                       Tested{Kernels::kCuda, at::kFloat}};
#elif defined(KANGPT_TEST_EMULATED)
inline constexpr at::DeviceType kDevice = at::kCPU;
inline constexpr std::array kTested = {Tested{Kernels::kCuda, at::kFloat}};
#else
inline constexpr at::DeviceType kDevice = at::kCPU;
inline constexpr std::array kTested = {Tested{Kernels::kAten, at::kFloat}, Tested{Kernels::kAten, at::kDouble},
                                       Tested{Kernels::kCpu, at::kFloat}, Tested{Kernels::kCpu, at::kDouble}};
#endif

// REQUIRES: before any of Kernels::kCuda is made.
inline void prepare_kernels() {
#if defined(KANGPT_TEST_ON_GPU) || defined(KANGPT_TEST_EMULATED)
  use_cuda_operations();
#endif
}

inline at::Tensor leaf(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).detach().clone().set_requires_grad(true);
}

inline std::vector<at::Tensor> gradients(const at::Tensor& output, const std::vector<at::Tensor>& inputs,
                                         const at::Tensor& doutput) {
  return torch::autograd::grad({output}, inputs, {doutput.to(at::kDouble)});
}

}  // namespace kangpt::operations::testing
