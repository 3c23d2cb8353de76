// A world of one rank.
#pragma once

#include "training/communicator.hpp"

namespace kangpt::sharding {

// Every collective is a copy at most. Owns nothing.
class LocalCommunicator final : public training::Communicator {
 public:
  int rank() const noexcept override { return 0; }
  int world_size() const noexcept override { return 1; }
  void reduce_scatter(std::span<float> flat) override;
  void all_gather(std::span<const float> mine, std::span<float> flat) override;
  std::vector<double> all_gather_scalars(std::span<const double> mine) override;
};

}  // namespace kangpt::sharding
