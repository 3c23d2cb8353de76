// Memory of a network's passes on a GPU, from its configuration alone: what --plan adds up there.
#pragma once

#include <cstdint>
#include <span>

#include "model/parameters/model_memory.hpp"

namespace kangpt::model {

// As pass_memory(), with own kernels (src/operations/cuda) where these have a version for the network, else LibTorch's
// operators; beside its flat buffers, and beside what CUDA and its libraries take for themselves. shape.threads is not
// looked at.
PassMemory gpu_pass_memory(const config::ModelConfig& model, const PassShape& shape);

struct MatrixShape {
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
};
// The scratch memory of Muon's step of these matrices.
std::uint64_t gpu_muon_bytes(std::span<const MatrixShape> matrices);

// Whether own kernels compute whole residuals of a network so wide, and attention within them.
bool has_fused_residuals(const config::ModelConfig& model);
bool has_fused_attention(const config::ModelConfig& model, const PassShape& shape);

}  // namespace kangpt::model
