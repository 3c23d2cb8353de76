// A worker's part of a run: puts the pieces together and trains.
#pragma once

#include "base/shared_memory.hpp"
#include "config/run_config.hpp"
#include "sharding/agent_protocol.hpp"
#include "training/training_loop.hpp"

namespace kangpt::launcher {

// Composition happens here alone. Runs until the end or a stop signal; throws Error.
training::Outcome run_training_job(sharding::MessageSocket& agent, base::SharedMemory& memory,
                                   const sharding::StartOrder& order, const config::RunConfig& config);

}  // namespace kangpt::launcher
