// Training state on the CPU: the optimizer works in the snapshot slots themselves.
#pragma once

#include <functional>

#include "sharding/adamw.hpp"
#include "sharding/agent_protocol.hpp"
#include "sharding/gradient_tree.hpp"
#include "sharding/muon.hpp"
#include "sharding/partition.hpp"
#include "training/communicator.hpp"
#include "training/sharded_state.hpp"

namespace kangpt::sharding {

// The slot that holds the newest snapshot, and where to tell of the next one.
struct PublishedSlot {
  int index = 0;
  std::function<void(int slot, const Publication& publication)> publish;
  // Blocks until the agent has taken what was published: the slot before that one may be on its way to disk until then.
  // For those whose collectives the agent does not carry out, since it would hold those back.
  std::function<void()> await_taken = [] {};
};

// The update reads the newest snapshot in one slot and writes the new state to the other, which then becomes the
// snapshot: a snapshot costs no copy and is hashed while it is written, and whenever the process dies one slot holds a
// whole step. With several steps to a snapshot, the steps between work in place in the slot that is not the snapshot.
// Borrows memory and communicator.
class SlotState final : public training::ShardedState {
 public:
  // Starts from what slot `published` holds.
  SlotState(const ExchangeMemory& memory, const Partition& partition, training::Communicator& communicator,
            PublishedSlot published);

  void add_gradient() override;
  void reduce_gradients() override;
  double squared_gradient_norm() override;
  void update(const training::OptimizerUpdate& update) override;
  void keep() override;
  void gather_parameters() override;
  void gather_average() override;
  training::ParameterHashes parameter_hashes() const override;
  void publish(const io::TrainingState& state, Destination destination) override;

 private:
  std::span<float> reduced_gradient() const;
  // `parts` and `block` are counted from the beginning of this rank's range.
  void update_block(const std::vector<PartialUpdate>& parts, const ExchangeMemory::Slot& from,
                    const ExchangeMemory::Slot& to, FlatInterval block);
  void finish_matrix(const OwnedMatrix& owned, std::span<const float> old, const ExchangeMemory::Slot& to,
                     const training::OptimizerUpdate& update);
  // The slot that may be written: the current one unless it is the snapshot.
  int writable() const { return current_ == published_.index ? memory_.claim_slot(current_) : current_; }

  const ExchangeMemory& memory_;
  Partition partition_;
  training::Communicator& communicator_;
  PublishedSlot published_;
  GradientTree tree_;
  int current_;        // slot with the newest state
  SlotHashes hashes_;  // of the current slot, where hashed_
  bool hashed_ = false;
};

}  // namespace kangpt::sharding
