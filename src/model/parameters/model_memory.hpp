// Memory of a network's passes on a CPU, from its configuration alone: what --plan adds up.
#pragma once

#include <cstdint>

#include "config/run_config.hpp"

namespace kangpt::model {

// How a network is computed with.
struct PassShape {
  std::int64_t sequences = 1;  // of a micro-batch
  std::int64_t time = 1;       // of a sequence
  std::int64_t threads = 1;
  config::Precision precision = config::Precision::kFp32;  // of products, as this processor computes them
};

struct PassMemory {
  std::uint64_t kept_bytes = 0;    // from the forward pass to the backward pass
  std::uint64_t shared_bytes = 0;  // what one layer after the other uses, the head's loss with it
  std::uint64_t total() const noexcept { return kept_bytes + shared_bytes; }
};

// What a network takes beside its flat buffers once it has been trained on a micro-batch and validated on another.
// REQUIRES: config::problems() found nothing in `model`.
PassMemory pass_memory(const config::ModelConfig& model, const PassShape& shape);

}  // namespace kangpt::model
