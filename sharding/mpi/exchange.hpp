// Nonblocking collectives over MPI, resumable so that an agent can attend to its worker meanwhile.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kangpt::sharding {

// One collective in flight. It borrows the buffers it was started with until it is complete. Not thread-safe.
// Every rank of the group starts the same collectives in the same order.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // Does what can be done without waiting. True once the collective is complete; its result may then be read.
  virtual bool progress() = 0;

  // True once all ranks have joined, so that data moves and waiting is short. Before, a rank may still be computing.
  virtual bool everyone_joined() const noexcept = 0;
};

}  // namespace kangpt::sharding
