// A worker's part of a run: puts the pieces together and trains.
#pragma once

#include <functional>

#include "base/shared_memory.hpp"
#include "config/run_config.hpp"
#include "operations/torch_prefix.hpp"
#include "sharding/agent_protocol.hpp"
#include "training/training_loop.hpp"

namespace kangpt::launcher {

// Gives the GPU with that number, or what stands in for it, as sharding::use_gpu() does.
using TakeGpu = std::function<at::Device(int index)>;

struct WorkerParts {
  sharding::MessageSocket& agent;
  base::SharedMemory& memory;
  const TakeGpu& take_gpu;  // where the configuration says CUDA
};

// Composition happens here alone. Runs until the end or a stop signal and tells the agent. One that fails tells it why
// and ends the process as it stands: to give back what ranks have in common takes all of them.
void run_training_job(const WorkerParts& parts, const sharding::StartOrder& order, const config::RunConfig& config);

}  // namespace kangpt::launcher
