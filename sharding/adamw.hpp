// The arithmetic of AdamW and of the gradient's norm on contiguous ranges of host memory.
#pragma once

#include <cstdint>
#include <span>

#include "sharding/agent_protocol.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::sharding {

// One pass over memory: reads `from` and `gradient`, writes `to`; `from` and `to` may be the same slot. Parameters and
// moments in fp32; threads over fixed blocks, so the bits do not depend on their number.
//   m' = b1 m + (1 - b1) g      v' = b2 v + (1 - b2) g^2
//   p' = p - lr * (m' / (1 - b1^t) / (sqrt(v' / (1 - b2^t)) + epsilon) + weight_decay * p)
void adamw(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, std::span<const float> gradient,
           const training::AdamwUpdate& update);

// Sum of squares in fp64, over blocks of 1024 elements in order. The same bits for any number of threads.
double squared_norm(std::span<const float> values);

// Copies a slot.
void copy_slot(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to);

}  // namespace kangpt::sharding
