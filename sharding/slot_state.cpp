#include "sharding/slot_state.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "base/tree_sum.hpp"
#include "sharding/adamw.hpp"
#include "sharding/muon.hpp"
#include "sharding/threads.hpp"

namespace kangpt::sharding {
namespace {

constexpr std::int64_t kElementsPerTask = 65536;

void clear(std::span<float> values) {
  at::parallel_for(
      0, static_cast<std::int64_t>(values.size()), kElementsPerTask,
      [&](std::int64_t begin, std::int64_t end) { std::fill(values.begin() + begin, values.begin() + end, 0.0F); });
}

}  // namespace

SlotState::SlotState(const ExchangeMemory& memory, const Partition& partition, training::Communicator& communicator,
                     PublishedSlot published)
    : memory_(memory),
      partition_(partition),
      communicator_(communicator),
      published_(std::move(published)),
      tree_(partition.shards(communicator.rank()).count, partition.padded_size()),
      current_(published_.index),
      hashes_(memory.slot(0)) {
  clear(memory_.gradients());
}

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

// In three passes where there are matrices for Muon: each element's own arithmetic, which leaves a matrix's direction
// where its new parameters will be, since that is what can be gathered; the gather, if ranks share a matrix; and the
// matrices' steps from the directions, for which the old parameters have been kept.
void SlotState::update(const training::OptimizerUpdate& update) {
  const int target = writable();
  const FlatInterval range = partition_.range(communicator_.rank());
  const ExchangeMemory::Slot from = memory_.slot(current_);
  const ExchangeMemory::Slot to = memory_.slot(target);
  const std::vector<OwnedMatrix> matrices = matrices_in(update, range);
  const bool is_in_place = from.parameters.data() == to.parameters.data();
  std::vector<std::vector<float>> copies;  // directions take the parameters' place first
  std::vector<std::span<const float>> old_parameters;
  for (const OwnedMatrix& owned : matrices) {
    const std::span<const float> old = from.parameters.subspan(owned.own.begin - range.begin, owned.own.size());
    old_parameters.push_back(is_in_place ? copies.emplace_back(old.begin(), old.end()) : old);
  }
  const std::vector<PartialUpdate> parts = split_by_rate(update, range);
  for_each_in_parallel(hashes_.blocks(), [&](std::size_t i) {
    update_block(parts, from, to, hashes_.block(i));
    if (!matrices.empty()) return;  // parameters change once more
    average_parameters(part_of(from, hashes_.block(i)), part_of(to, hashes_.block(i)), update.average_decay);
    hashes_.take(to, i);
  });
  hashed_ = matrices.empty();
  if (is_any_matrix_cut(update, partition_)) communicator_.all_gather(to.parameters, memory_.parameters());
  // At least two tasks, so that LibTorch computes each with one thread, whatever the number of matrices.
  for_each_in_parallel(std::max<std::size_t>(matrices.size(), 2), [&](std::size_t i) {
    if (i < matrices.size()) finish_matrix(matrices[i], old_parameters[i], to, update);
  });
  if (!matrices.empty() && !to.average.empty()) {
    for_each_in_parallel(hashes_.blocks(), [&](std::size_t i) {
      average_parameters(part_of(from, hashes_.block(i)), part_of(to, hashes_.block(i)), update.average_decay);
    });
  }
  current_ = target;
}

void SlotState::update_block(const std::vector<PartialUpdate>& parts, const ExchangeMemory::Slot& from,
                             const ExchangeMemory::Slot& to, FlatInterval block) {
  for (const auto& [part, partial] : parts) {
    const FlatInterval here{std::max(part.begin, block.begin), std::min(part.end, block.end)};
    if (here.begin >= here.end) continue;
    const std::span<float> gradient = reduced_gradient().subspan(here.begin, here.size());
    const auto rule = partial.is_of_matrix ? muon_direction : adamw;
    rule(part_of(from, here), part_of(to, here), gradient, advance(partial, here.begin - part.begin));
  }
}

void SlotState::finish_matrix(const OwnedMatrix& owned, std::span<const float> old, const ExchangeMemory::Slot& to,
                              const training::OptimizerUpdate& update) {
  const auto& [matrix, own, rows, rate_factor] = owned;
  const std::uint64_t first = partition_.range(communicator_.rank()).begin;
  const bool is_whole = own.size() == matrix.size();  // else it was gathered
  float* direction = is_whole ? &to.parameters[own.begin - first] : &memory_.parameters()[matrix.begin];
  const auto columns = static_cast<std::int64_t>(matrix.size()) / rows;
  const at::Tensor step = operations::muon_step(at::from_blob(direction, {rows, columns}, at::kFloat));
  const std::span<const float> values(step.data_ptr<float>(), matrix.size());
  muon_parameters(old, values.subspan(own.begin - matrix.begin, own.size()),
                  to.parameters.subspan(own.begin - first, own.size()),
                  {update.learning_rate * rate_factor, update.weight_decay});
}

void SlotState::keep() {
  const int target = writable();
  if (target != current_) copy_slot(memory_.slot(current_), memory_.slot(target));
  current_ = target;
  clear(reduced_gradient());
}

// Now that no rank reads gradients any more, those of the other ranks' ranges can go too.
void SlotState::gather_parameters() {
  communicator_.all_gather(memory_.slot(current_).parameters, memory_.parameters());
  const FlatInterval range = partition_.range(communicator_.rank());
  clear(memory_.gradients().first(range.begin));
  clear(memory_.gradients().subspan(range.end));
}

void SlotState::gather_average() {
  communicator_.all_gather(memory_.slot(current_).average, memory_.parameters());
}

training::ParameterHashes SlotState::parameter_hashes() const {
  training::ParameterHashes hashes;
  for (int rank = 0; rank < communicator_.world_size(); ++rank) {
    const FlatInterval range = partition_.range(rank);
    hashes.copied_ranges.push_back(
        block_checksum(memory_.parameters().subspan(range.begin, range.size()), for_each_in_parallel));
  }
  hashes.own_range = block_checksum(memory_.slot(current_).parameters, for_each_in_parallel);
  return hashes;
}

// The order matters: all of the slot is written and hashed, then the agent is told, and only then does writable() name
// the other slot. See Publication for why no lock is needed.
void SlotState::publish(const io::TrainingState& state, Destination destination) {
  if (!hashed_) {
    for_each_in_parallel(hashes_.blocks(), [this](std::size_t i) { hashes_.take(memory_.slot(current_), i); });
    hashed_ = true;
  }
  Publication publication{.state = state, .checksum = hashes_.checksum()};
  publication.write_checkpoint = destination == Destination::kDisk ? 1 : 0;
  published_.publish(current_, publication);
  published_.index = current_;
}

}  // namespace kangpt::sharding
