// The arithmetic of AdamW and of the gradient's norm on contiguous ranges of host memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sharding/agent_protocol.hpp"
#include "sharding/partition.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::sharding {

// Part of a rank's range, counted from the range's beginning, and its update with the learning rate that holds there.
struct PartialUpdate {
  FlatInterval part;
  training::OptimizerUpdate update;
};

// Cuts a rank's range of the flat buffer where update.rates says that the learning rate changes.
std::vector<PartialUpdate> split_by_rate(const training::OptimizerUpdate& update, FlatInterval range);

// The same update for elements that begin `elements` later.
training::OptimizerUpdate advance(training::OptimizerUpdate update, std::uint64_t elements);

// One pass over memory: reads `from` and `gradient`, writes `to` and leaves `gradient` zero; `from` and `to` may be the
// same slot. Parameters and moments in fp32; threads over fixed blocks, so the bits do not depend on their number.
// update.rates is for split_by_rate(); where there is a cycle, lr is its factor times update.learning_rate.
//   m' = b1 m + (1 - b1) g      v' = b2 v + (1 - b2) g^2
//   p' = p - lr * (m' / (1 - b1^t) / (sqrt(v' / (1 - b2^t)) + epsilon) + weight_decay * p)
void adamw(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, std::span<float> gradient,
           const training::OptimizerUpdate& update);

// The average after an update that left the new parameters in `to`, from that before it in `from`, which may be the
// same slot: a' = a + (1 - decay) (p' - a). Nothing where no average is kept. One thread.
void average_parameters(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, double decay);

// Sum of squares in fp64, over blocks of 1024 elements in order. The same bits for any number of threads.
double squared_norm(std::span<const float> values);

// The elements of `part` of a slot.
ExchangeMemory::Slot part_of(const ExchangeMemory::Slot& slot, FlatInterval part);

// Copies a slot.
void copy_slot(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to);

}  // namespace kangpt::sharding
