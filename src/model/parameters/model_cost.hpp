// Arithmetic of a model, from its configuration alone: what --plan and the benchmarks divide by seconds.
#pragma once

#include "config/run_config.hpp"

namespace kangpt::model {

// Floating-point operations a token, forward and backward together (3 x forward), at a full context. A multiplication
// and an addition count as two. Norms, activations, residuals, embeddings and the loss are left out.
struct TokenFlops {
  double mixer = 0;
  double feed_forward = 0;
  double head = 0;
  double total() const noexcept { return mixer + feed_forward + head; }
};

// REQUIRES: config::problems() found nothing in `model`.
TokenFlops flops_per_token(const config::ModelConfig& model);
// Of one layer alone, without a head.
TokenFlops layer_flops_per_token(const config::ModelConfig& model, int layer);

}  // namespace kangpt::model
