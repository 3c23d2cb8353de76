// Collectives between GPUs.
#pragma once

#include <memory>

#include "config/run_config.hpp"
#include "operations/torch_prefix.hpp"
#include "sharding/agent_communicator.hpp"
#include "training/communicator.hpp"

namespace kangpt::sharding {

// Owns a NCCL communicator and a stream of its own; buffers are memory of `device`. An operation waits for the work
// queued before it on the current stream, says on `page` that this worker waits for others, and blocks until it is
// complete. Collective, and so is its end: a worker that fails must end without it, as the others may never come to it.
// `agents` carries rank 0's NCCL id to the others and is not used afterwards; borrows `page`.
struct NcclPlace {
  at::Device device;
  config::Reduction reduction;
  HeartbeatPage& page;
};
std::unique_ptr<training::Communicator> make_nccl_communicator(AgentCommunicator& agents, const NcclPlace& place);

}  // namespace kangpt::sharding
