// Training state in tensors of a device; snapshots are copies in shared memory.
#pragma once

#include <vector>

#include "operations/torch_prefix.hpp"
#include "sharding/slot_state.hpp"

namespace kangpt::sharding {

// The flat buffers of the network, [P] each, fp32, on one device. This rank's parameters are its range of `parameters`.
struct DeviceBuffers {
  at::Tensor parameters;
  at::Tensor gradients;
};

// Moments and update live on the device, in LibTorch's own operators; the formulas are those of adamw.hpp and muon.hpp.
// publish() copies this rank's range to the slot that is not the snapshot. Borrows memory and communicator. Works on
// any device that the communicator works on.
class DeviceState final : public training::ShardedState {
 public:
  // Starts from what slot `published` holds.
  DeviceState(const ExchangeMemory& memory, const Partition& partition, training::Communicator& communicator,
              DeviceBuffers buffers, PublishedSlot published);

  void add_gradient() override;
  void reduce_gradients() override;
  double squared_gradient_norm() override;
  void update(const training::OptimizerUpdate& update) override;
  void keep() override {}
  void gather_parameters() override;
  training::ParameterHashes parameter_hashes() const override;
  void publish(const io::TrainingState& state, Destination destination) override;

 private:
  at::Tensor my_range(const at::Tensor& flat) const;
  // `part` is counted from the beginning of this rank's range.
  void update_part(FlatInterval part, const training::OptimizerUpdate& u);
  void take_direction(FlatInterval part, const training::OptimizerUpdate& u);

  const ExchangeMemory& memory_;
  Partition partition_;
  training::Communicator& communicator_;
  DeviceBuffers buffers_;
  PublishedSlot published_;
  at::Tensor first_moment_;  // [R]
  at::Tensor second_moment_;
  std::vector<at::Tensor> partial_sums_;  // [P] each: a binary counter over this rank's logical shards
  int shards_;
  int added_ = 0;
};

}  // namespace kangpt::sharding
