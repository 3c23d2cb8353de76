// The GPU that a worker computes on. Built without CUDA, no_gpu.cpp stands in for gpu.cpp and nccl_communicator.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "operations/torch_prefix.hpp"
#include "sharding/workplace/background_copies.hpp"

namespace kangpt::sharding {

// Makes GPU number `index` of those that this process sees the one that it computes on, with own kernels and the
// arithmetic that the project asks for, whatever the environment says. Throws ConfigError where the build has no GPU
// part, the driver gives none, or there are fewer; Error (kGaveUp) where the GPU or its driver is out of order.
at::Device use_gpu(int index);

// On a stream of their own. Pins `memory`, whole pages that outlive what is returned, so that the device writes to it
// by itself.
std::unique_ptr<BackgroundCopies> make_gpu_copies(const at::Device& device, std::span<std::byte> memory);

}  // namespace kangpt::sharding
