// Finds the rank whose parameters are not those of the others.
#pragma once

#include <cstdint>

#include "training/communicator.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::training {

// Compares hashes over all ranks; every rank calls it at the same step. Throws InternalError on the rank whose memory
// is wrong: its copy of the parameters differs from what the owners of the ranges hold, or its own range does. The
// others return and meet it in no later collective, so that nothing of this step survives. Works from one rank on.
void check_parameters(Communicator& communicator, const ParameterHashes& mine, std::uint64_t step);

}  // namespace kangpt::training
