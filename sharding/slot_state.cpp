#include "sharding/slot_state.hpp"

#include <vector>

#include "base/tree_sum.hpp"
#include "sharding/adamw.hpp"

namespace kangpt::sharding {

SlotState::SlotState(const ExchangeMemory& memory, const Partition& partition, training::Communicator& communicator,
                     PublishedSlot published)
    : memory_(memory),
      partition_(partition),
      communicator_(communicator),
      published_(std::move(published)),
      tree_(partition.shards(communicator.rank()).count, partition.padded_size()),
      current_(published_.index) {}

std::span<float> SlotState::reduced_gradient() const {
  const FlatInterval range = partition_.range(communicator_.rank());
  return memory_.gradients().subspan(range.begin, range.size());
}

void SlotState::add_gradient() {
  tree_.add(memory_.gradients());
}

void SlotState::reduce_gradients() {
  communicator_.reduce_scatter(memory_.gradients());
}

double SlotState::squared_gradient_norm() {
  const ShardInterval shards = partition_.shards(communicator_.rank());
  std::vector<double> norms;
  for (int shard = shards.first; shard < shards.first + shards.count; ++shard) {
    const FlatInterval slice = partition_.slice(shard);
    norms.push_back(squared_norm(memory_.gradients().subspan(slice.begin, slice.size())));
  }
  return base::tree_sum(norms);
}

void SlotState::update(const training::AdamwUpdate& update) {
  const int target = writable();
  adamw(memory_.slot(current_), memory_.slot(target), reduced_gradient(), update);
  current_ = target;
}

void SlotState::keep() {
  const int target = writable();
  if (target != current_) copy_slot(memory_.slot(current_), memory_.slot(target));
  current_ = target;
}

void SlotState::gather_parameters() {
  communicator_.all_gather(memory_.slot(current_).parameters, memory_.parameters());
}

void SlotState::publish(const io::TrainingState& state, Destination destination) {
  Publication publication{.state = state, .checksum = slot_checksum(memory_.slot(current_))};
  publication.write_checkpoint = destination == Destination::kDisk ? 1 : 0;
  published_.publish(current_, publication);
  published_.index = current_;
}

}  // namespace kangpt::sharding
