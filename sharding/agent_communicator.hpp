// A worker's collectives, carried out by its agent over MPI.
#pragma once

#include "config/run_config.hpp"
#include "sharding/agent_protocol.hpp"
#include "training/communicator.hpp"

namespace kangpt::sharding {

// The flat buffers it is given must be those of the shared memory: nothing is copied between worker and agent.
// Borrows socket and memory. Throws CommunicationError when the agent is gone.
class AgentCommunicator final : public training::Communicator {
 public:
  AgentCommunicator(MessageSocket& agent, const ExchangeMemory& memory, const StartOrder& order,
                    config::Reduction reduction);

  int rank() const noexcept override { return rank_; }
  int world_size() const noexcept override { return world_size_; }
  // REQUIRES: `flat` is the gradient buffer.
  void reduce_scatter(std::span<float> flat) override;
  // REQUIRES: `mine` is the parameters or the average of a slot, `flat` the parameter buffer.
  void all_gather(std::span<const float> mine, std::span<float> flat) override;
  std::vector<double> all_gather_scalars(std::span<const double> mine) override;
  // Every rank's bytes, in rank order; the same number on every rank.
  std::string all_gather_bytes(std::string_view mine);

 private:
  std::string call(MessageKind kind, std::uint64_t argument, std::string_view payload = {});

  MessageSocket& agent_;
  const ExchangeMemory& memory_;
  int rank_;
  int world_size_;
  config::Reduction reduction_;
};

}  // namespace kangpt::sharding
