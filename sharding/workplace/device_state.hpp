// Training state in tensors of a device; snapshots are copied to shared memory while the next step is computed.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "operations/flat_operations.hpp"
#include "operations/torch_prefix.hpp"
#include "sharding/slot_state.hpp"
#include "sharding/workplace/background_copies.hpp"

namespace kangpt::sharding {

// What the state works on. Flat buffers of the network, [P] each, fp32, on one device; every step gathers `parameters`
// anew.
struct DeviceBuffers {
  at::Tensor parameters;
  at::Tensor gradients;
  BackgroundCopies& copies;
  operations::Kernels kernels = operations::Kernels::kAten;
};

// Moments, average and update live on the device; the formulas are those of adamw.hpp and muon.hpp. publish() only
// begins to copy to the slot that is not the snapshot: forward and backward pass read nothing of what is copied. The
// snapshot is hashed and handed over at the end of the next step's backward pass, when the host would wait for the
// device; one for the disk at once. Until then the snapshot before is whole. Borrows memory, communicator and copies.
// Works on any device that the communicator works on.
class DeviceState final : public training::ShardedState {
 public:
  // Starts from what slot `published` holds.
  DeviceState(const ExchangeMemory& memory, const Partition& partition, training::Communicator& communicator,
              DeviceBuffers buffers, PublishedSlot published);

  void add_gradient() override;
  void reduce_gradients() override;
  double squared_gradient_norm() override;
  void update(const training::OptimizerUpdate& update) override;
  void keep() override;
  void gather_parameters() override;
  void gather_average() override;
  training::ParameterHashes parameter_hashes() const override;
  void publish(const io::TrainingState& state, Destination destination) override;
  double take_late_seconds() override { return std::exchange(late_seconds_, 0); }

 private:
  // This rank's range, [R] each.
  struct State {
    at::Tensor parameters;
    at::Tensor first_moment;
    at::Tensor second_moment;
    at::Tensor average;  // undefined: none is kept
  };

  at::Tensor my_range(const at::Tensor& flat) const;
  void update_by_adamw(const training::OptimizerUpdate& u);
  void update_by_muon(const training::OptimizerUpdate& u);
  void finish_backward();
  void finish_publication();

  const ExchangeMemory& memory_;
  Partition partition_;
  training::Communicator& communicator_;
  DeviceBuffers buffers_;
  PublishedSlot published_;
  State own_;
  struct Pending {
    int slot;  // is not the snapshot, and being copied to
    Publication publication;
  };
  std::optional<Pending> pending_;
  double late_seconds_ = 0;
  std::vector<at::Tensor> partial_sums_;  // [P] each: a binary counter over this rank's logical shards
  int shards_;
  int added_ = 0;
  std::unique_ptr<operations::FlatOperations> operations_;
};

}  // namespace kangpt::sharding
