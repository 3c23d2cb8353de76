// The collectives of an agent, one at a time and in order, over all lives of its worker.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sharding/agent_protocol.hpp"
#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::launcher {

// The newest collective that an agent has begun. All agents begin the same ones in the same order, and none can be more
// than one ahead of another, since each needs all: so this is all that another one has to know to catch up.
struct ExchangePosition {
  std::uint64_t begun = 0;
  sharding::MessageKind kind{};
  std::uint64_t argument = 0;
  std::uint64_t input_bytes = 0;
};

// Borrows group and memory. Not thread-safe.
class ExchangeRunner {
 public:
  ExchangeRunner(sharding::MpiGroup& group, const sharding::ExchangeMemory& memory) : group_(group), memory_(memory) {}

  // Starts what the worker asks for. Throws CommunicationError if one is in flight or the request makes no sense.
  void begin(const sharding::Message& request);
  bool active() const noexcept { return exchange_ != nullptr; }
  bool everyone_joined() const noexcept { return exchange_ && exchange_->everyone_joined(); }
  // Goes on without waiting. Once it is complete: the bytes that answer the worker's request.
  std::optional<std::string> progress();

  const ExchangePosition& position() const noexcept { return position_; }
  // After a failure: takes part in what others have begun, with whatever the buffers hold, so that no message of the
  // old workers is left in flight. MPI can't take back what has been begun, nor go on in a communicator of which a
  // collective was abandoned: the next workers' first one would meet the old one's data. Blocks until done; the results
  // are worthless.
  void drain(const ExchangePosition& newest);

 private:
  sharding::MpiGroup& group_;
  const sharding::ExchangeMemory& memory_;
  std::unique_ptr<sharding::Exchange> exchange_;
  std::string input_;
  std::string output_;
  ExchangePosition position_;
};

}  // namespace kangpt::launcher
