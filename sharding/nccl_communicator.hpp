// Collectives between GPUs. Built without CUDA, no_nccl_communicator.cpp stands in for the only file that calls NCCL.
#pragma once

#include <memory>

#include "config/run_config.hpp"
#include "operations/torch_prefix.hpp"
#include "sharding/agent_communicator.hpp"
#include "training/communicator.hpp"

namespace kangpt::sharding {

// Makes GPU number `local_rank` of this node the one that this process computes on. Throws ConfigError where the build
// has no GPU part, the driver gives none, or there are fewer.
at::Device use_gpu(int local_rank);

// Owns a NCCL communicator and a stream of its own; buffers are memory of `device`. An operation waits for the work
// queued before it on the current stream, and blocks until it is complete. Collective: `agents` carries rank 0's NCCL
// id to the others and is not used afterwards.
std::unique_ptr<training::Communicator> make_nccl_communicator(AgentCommunicator& agents, const at::Device& device,
                                                               config::Reduction reduction);

}  // namespace kangpt::sharding
