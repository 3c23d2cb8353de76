#include "sharding/workplace/device_state.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/tree_sum.hpp"
#include "sharding/adamw.hpp"
#include "sharding/muon.hpp"
#include "sharding/threads.hpp"

namespace kangpt::sharding {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kNoWait(100);  // asking a device that is done takes less

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

std::span<float> elements(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

at::Tensor host_view(std::span<float> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

std::int64_t signed_size(std::uint64_t size) {
  return static_cast<std::int64_t>(size);
}

std::vector<operations::OwnMatrix> own_matrices(const training::OptimizerUpdate& update, FlatInterval range) {
  std::vector<operations::OwnMatrix> matrices;
  for (const OwnedMatrix& m : matrices_in(update, range)) {
    matrices.push_back({.matrix = signed_size(m.matrix.begin),
                        .rows = m.rows,
                        .columns = signed_size(m.matrix.size()) / m.rows,
                        .begin = signed_size(m.own.begin - m.matrix.begin),
                        .end = signed_size(m.own.end - m.matrix.begin),
                        .own = signed_size(m.own.begin - range.begin),
                        .rate_factor = m.rate_factor});
  }
  return matrices;
}

at::Tensor of_interval(const at::Tensor& flat, FlatInterval interval) {
  return flat.narrow(0, signed_size(interval.begin), signed_size(interval.size()));
}

}  // namespace

DeviceState::DeviceState(const ExchangeMemory& memory, const Partition& partition, training::Communicator& communicator,
                         DeviceBuffers buffers, PublishedSlot published)
    : memory_(memory),
      partition_(partition),
      communicator_(communicator),
      buffers_(std::move(buffers)),
      published_(std::move(published)),
      shards_(partition.shards(communicator.rank()).count),
      operations_(operations::make_flat_operations(buffers_.kernels)) {
  const ExchangeMemory::Slot slot = memory_.slot(published_.index);
  const auto on_device = [this](std::span<float> values) {
    return host_view(values).to(buffers_.parameters.device(), at::kFloat, false, true);
  };
  own_ = {on_device(slot.parameters), on_device(slot.first_moment), on_device(slot.second_moment), {}};
  if (!slot.average.empty()) own_.average = on_device(slot.average);
  const int levels = std::countr_zero(static_cast<unsigned>(shards_));
  for (int level = 0; level < levels; ++level) partial_sums_.push_back(at::empty_like(buffers_.gradients));
  buffers_.gradients.zero_();
}

at::Tensor DeviceState::my_range(const at::Tensor& flat) const {
  return of_interval(flat, partition_.range(communicator_.rank()));
}

// As GradientTree::add().
void DeviceState::add_gradient() {
  std::size_t level = 0;
  for (; ((added_ >> level) & 1) != 0; ++level) buffers_.gradients.add_(partial_sums_[level]);
  added_ = (added_ + 1) % shards_;
  if (added_ == 0) return finish_backward();
  partial_sums_[level].copy_(buffers_.gradients);
  buffers_.gradients.zero_();
}

// The host has something to do while the device works off the backward pass; and then it waits, so that phases take the
// time that their work takes. Where there is nothing left to wait for, the device has waited for the host: at most for
// all that it did.
void DeviceState::finish_backward() {
  const bool publishes = pending_.has_value();
  const Clock::time_point begin = Clock::now();
  finish_publication();
  const Clock::time_point published = Clock::now();
  buffers_.gradients[0].item<float>();
  if (publishes && Clock::now() - published < kNoWait) late_seconds_ += seconds_between(begin, published);
}

void DeviceState::reduce_gradients() {
  communicator_.reduce_scatter(elements(buffers_.gradients));
}

double DeviceState::squared_gradient_norm() {
  const ShardInterval mine = partition_.shards(communicator_.rank());
  const at::Tensor norms = operations_->squared_norms(my_range(buffers_.gradients), mine.count).to(at::kCPU);
  return base::tree_sum({norms.const_data_ptr<double>(), static_cast<std::size_t>(mine.count)});
}

void DeviceState::update(const training::OptimizerUpdate& update) {
  update_by_adamw(update);
  update_by_muon(update);
  if (own_.average.defined()) own_.average.lerp_(own_.parameters, 1 - update.average_decay);
}

void DeviceState::update_by_adamw(const training::OptimizerUpdate& update) {
  std::vector<operations::RatePart> parts;
  for (const auto& [part, u] : split_by_rate(update, partition_.range(communicator_.rank()))) {
    if (u.is_of_matrix) continue;
    parts.push_back(
        {signed_size(part.begin), signed_size(part.end), u.learning_rate, u.cycle, signed_size(u.cycle_start)});
  }
  operations_->adamw({own_.parameters, own_.first_moment, own_.second_moment, my_range(buffers_.gradients)},
                     {.beta1 = update.beta1,
                      .beta2 = update.beta2,
                      .epsilon = update.epsilon,
                      .weight_decay = update.weight_decay,
                      .gradient_scale = update.gradient_scale,
                      .t = update.t},
                     parts);
}

// A step is made of a whole matrix, so the directions of this rank's parts stand in the gathered buffer meanwhile.
void DeviceState::update_by_muon(const training::OptimizerUpdate& u) {
  const std::vector<operations::OwnMatrix> matrices = own_matrices(u, partition_.range(communicator_.rank()));
  const at::Tensor my_directions = my_range(buffers_.parameters);
  const operations::MuonUpdate update = {.learning_rate = u.learning_rate,
                                         .weight_decay = u.weight_decay,
                                         .momentum = u.muon_momentum,
                                         .beta2 = u.beta2,
                                         .gradient_scale = u.gradient_scale};
  operations_->muon_directions({own_.first_moment, own_.second_moment, my_range(buffers_.gradients), my_directions},
                               update, matrices);
  if (is_any_matrix_cut(u, partition_))
    communicator_.all_gather(elements(my_directions), elements(buffers_.parameters));
  operations_->muon_parameters(own_.parameters, buffers_.parameters, update, matrices);
}

void DeviceState::keep() {
  my_range(buffers_.gradients).zero_();
}

// An update, or keep(), has left zeros in this rank's range of the gradient.
void DeviceState::gather_parameters() {
  communicator_.all_gather(elements(own_.parameters), elements(buffers_.parameters));
  const FlatInterval mine = partition_.range(communicator_.rank());
  for (const FlatInterval& others : {FlatInterval{0, mine.begin}, FlatInterval{mine.end, partition_.padded_size()}}) {
    if (others.size() > 0) of_interval(buffers_.gradients, others).zero_();
  }
}

void DeviceState::gather_average() {
  communicator_.all_gather(elements(own_.average), elements(buffers_.parameters));
}

training::ParameterHashes DeviceState::parameter_hashes() const {
  const at::Tensor copied = operations_->hashes(buffers_.parameters, communicator_.world_size());
  const at::Tensor hashes = at::cat({copied, operations_->hashes(own_.parameters, 1)}).to(at::kCPU);
  const std::int64_t* const values = hashes.const_data_ptr<std::int64_t>();
  const int world_size = communicator_.world_size();
  return {{values, values + world_size}, static_cast<std::uint64_t>(values[world_size])};
}

void DeviceState::publish(const io::TrainingState& state, Destination destination) {
  finish_publication();
  published_.await_taken();
  const int target = memory_.claim_slot(published_.index);
  const ExchangeMemory::Slot slot = memory_.slot(target);
  buffers_.copies.begin(own_.parameters, host_view(slot.parameters));
  buffers_.copies.begin(own_.first_moment, host_view(slot.first_moment));
  buffers_.copies.begin(own_.second_moment, host_view(slot.second_moment));
  if (own_.average.defined()) buffers_.copies.begin(own_.average, host_view(slot.average));
  pending_ = {target, {.state = state, .write_checkpoint = destination == Destination::kDisk ? 1U : 0U}};
  if (destination == Destination::kDisk) finish_publication();
}

void DeviceState::finish_publication() {
  if (!pending_) return;
  buffers_.copies.finish();
  auto [target, publication] = *std::exchange(pending_, std::nullopt);
  publication.checksum = slot_checksum(memory_.slot(target), for_each_in_parallel);
  published_.publish(target, publication);
  published_.index = target;
}

}  // namespace kangpt::sharding
