// Where a worker computes: CPU or GPU, with the buffers, collectives and state that belong to it.
#pragma once

#include <memory>
#include <optional>

#include "config/run_config.hpp"
#include "model/transformer.hpp"
#include "operations/torch_prefix.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/partition.hpp"
#include "sharding/slot_state.hpp"
#include "sharding/workplace/background_copies.hpp"
#include "training/communicator.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::sharding {

// What a worker was started with; borrowed.
struct WorkerLink {
  MessageSocket& agent;
  const ExchangeMemory& memory;
  const Partition& partition;
  const StartOrder& order;
};

// On the CPU the buffers are the shared memory itself and the agents carry out the collectives; a GPU has buffers of
// its own, NCCL, and copies snapshots to the shared memory.
struct Workplace {
  model::FlatBuffers buffers;  // [P] each, fp32
  std::unique_ptr<training::Communicator> communicator;
  std::unique_ptr<BackgroundCopies> copies;  // of a GPU
};

// `gpu`: what use_gpu() gave, or what stands in for it; none: the CPU. Collective.
Workplace make_workplace(const WorkerLink& link, const std::optional<at::Device>& gpu, config::Reduction reduction);

// Starts from slot `published`. Borrows the workplace.
std::unique_ptr<training::ShardedState> make_state(const WorkerLink& link, const Workplace& workplace,
                                                   PublishedSlot published);

}  // namespace kangpt::sharding
