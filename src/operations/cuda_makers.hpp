// What makes the operations of Kernels::kCuda, in programs that have them.
#pragma once

#include <memory>

#include "operations/activations.hpp"
#include "operations/flat_operations.hpp"
#include "operations/operations.hpp"

namespace kangpt::operations {

struct CudaMakers {
  std::unique_ptr<Operations> (*operations)(config::Precision) = nullptr;
  std::unique_ptr<Activations> (*activations)() = nullptr;
  std::unique_ptr<FlatOperations> (*flat_operations)() = nullptr;
};

// Of this process. Empty, unless use_cuda_operations() was called.
CudaMakers& cuda_makers();

}  // namespace kangpt::operations
