// What a worker that can't go on tells its agent.
#pragma once

#include <functional>

#include "sharding/agent_protocol.hpp"

namespace kangpt::launcher {

// Runs `body` and sends kFailed or kBadBatch for what it throws. Whether it threw nothing. What `body` made lives on
// only where its owner stands outside of it: destructors of collectives wait for other ranks, and a rank that fails
// alone has to say so first.
bool tell_failure(sharding::MessageSocket& agent, const std::function<void()>& body);

}  // namespace kangpt::launcher
