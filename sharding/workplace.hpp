// Where a worker computes: CPU or GPU, with the buffers, collectives and state that belong to it.
#pragma once

#include <memory>

#include "config/run_config.hpp"
#include "operations/torch_prefix.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/partition.hpp"
#include "sharding/slot_state.hpp"
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
// its own, and NCCL.
struct Workplace {
  at::Device device;
  at::Tensor parameters;  // [P] fp32
  at::Tensor gradients;   // [P] fp32
  std::unique_ptr<training::Communicator> communicator;
};

// AUTO means CPU: the agent has decided before. Collective. Throws ConfigError where the device can't be had.
Workplace make_workplace(const WorkerLink& link, config::Device device, config::Reduction reduction);

// Starts from slot `published`. Borrows the workplace.
std::unique_ptr<training::ShardedState> make_state(const WorkerLink& link, const Workplace& workplace,
                                                   PublishedSlot published);

}  // namespace kangpt::sharding
