// The residuals that own kernels compute as a whole.
#pragma once

#include <memory>

#include "operations/cuda/residual_memory.hpp"

namespace kangpt::operations::cuda {

// Null: the kernels have no version for such a layer. Both borrow `memory`.
std::unique_ptr<FusedResidual> make_kan_residual(const LayerParameters& norm, const Parameter& coefficients,
                                                 ResidualMemory& memory);
std::unique_ptr<FusedResidual> make_attention_residual(const LayerParameters& norm,
                                                       const AttentionParameters& parameters, HeadShape heads,
                                                       ResidualMemory& memory);

}  // namespace kangpt::operations::cuda
