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

at::Tensor of_interval(const at::Tensor& flat, FlatInterval interval) {
  return flat.narrow(0, signed_size(interval.begin), signed_size(interval.size()));
}

at::Tensor make_rate_factors(const training::OptimizerUpdate& u, const at::Tensor& elements) {
  const at::Tensor cycle = at::empty({signed_size(u.cycle.size())}, at::kDouble);
  std::copy(u.cycle.begin(), u.cycle.end(), cycle.data_ptr<double>());
  const std::int64_t turns = elements.numel() / cycle.numel() + 2;
  return cycle.to(elements.options()).repeat(turns).narrow(0, signed_size(u.cycle_start), elements.numel());
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
      hash_(signed_size(partition.range_size()), buffers_.parameters.device()) {
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
  std::vector<at::Tensor> sums;
  for (int shard = mine.first; shard < mine.first + mine.count; ++shard) {
    sums.push_back(of_interval(buffers_.gradients, partition_.slice(shard)).to(at::kDouble).square().sum());
  }
  const at::Tensor norms = at::stack(sums).to(at::kCPU);
  return base::tree_sum({norms.data_ptr<double>(), sums.size()});
}

// Muon makes its step of whole matrices, so the directions of this rank's parts stand in the gathered buffer meanwhile.
void DeviceState::update(const training::OptimizerUpdate& update) {
  const FlatInterval range = partition_.range(communicator_.rank());
  for (const PartialUpdate& partial : split_by_rate(update, range)) {
    if (partial.update.is_of_matrix) {
      take_direction(partial.part, partial.update);
    } else {
      update_part(partial.part, partial.update);
    }
  }
  if (is_any_matrix_cut(update, partition_)) {
    communicator_.all_gather(elements(my_range(buffers_.parameters)), elements(buffers_.parameters));
  }
  for (const auto& [matrix, own, rows, rate] : matrices_in(update, range)) {
    const at::Tensor step = muon_step(of_interval(buffers_.parameters, matrix).view({rows, -1})).view({-1});
    const at::Tensor own_step = of_interval(step, {own.begin - matrix.begin, own.end - matrix.begin});
    of_interval(own_.parameters, {own.begin - range.begin, own.end - range.begin})
        .mul_(1 - rate * update.weight_decay)
        .sub_(own_step, rate);
  }
  if (own_.average.defined()) own_.average.lerp_(own_.parameters, 1 - update.average_decay);
}

// As muon_direction().
void DeviceState::take_direction(FlatInterval part, const training::OptimizerUpdate& u) {
  const auto in_part = [&](const at::Tensor& mine) { return of_interval(mine, part); };
  const at::Tensor gradient = in_part(my_range(buffers_.gradients)) * u.gradient_scale;
  const at::Tensor momentum = in_part(own_.first_moment).mul_(u.muon_momentum).add_(gradient, 1 - u.muon_momentum);
  in_part(own_.second_moment).mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
  in_part(my_range(buffers_.parameters)).copy_(gradient.lerp(momentum, u.muon_momentum));
}

// Made once, since a copy from the host would hold up every step.
const at::Tensor& DeviceState::rate_factors(const training::OptimizerUpdate& u, const at::Tensor& elements) {
  at::Tensor& factors = rate_factors_[{{u.cycle.begin(), u.cycle.end()}, u.cycle_start, elements.numel()}];
  if (!factors.defined()) factors = make_rate_factors(u, elements);
  return factors;
}

void DeviceState::update_part(FlatInterval part, const training::OptimizerUpdate& u) {
  const auto in_part = [&](const at::Tensor& mine) { return of_interval(mine, part); };
  const double t = static_cast<double>(u.t);
  const double step_size = u.learning_rate / (1 - std::pow(u.beta1, t));
  const double root_correction = 1 / std::sqrt(1 - std::pow(u.beta2, t));
  const at::Tensor gradient = in_part(my_range(buffers_.gradients)) * u.gradient_scale;
  const at::Tensor first_moment = in_part(own_.first_moment).mul_(u.beta1).add_(gradient, 1 - u.beta1);
  const at::Tensor second_moment = in_part(own_.second_moment).mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
  const at::Tensor denominator = second_moment.sqrt().mul_(root_correction).add_(u.epsilon);
  const at::Tensor parameters = in_part(own_.parameters);
  if (!u.cycle.empty()) {
    const at::Tensor change = first_moment / denominator * step_size + parameters * (u.learning_rate * u.weight_decay);
    parameters.sub_(change.mul_(rate_factors(u, parameters)));
    return;
  }
  parameters.mul_(1 - u.learning_rate * u.weight_decay).addcdiv_(first_moment, denominator, -step_size);
}

void DeviceState::gather_parameters() {
  communicator_.all_gather(elements(own_.parameters), elements(buffers_.parameters));
  buffers_.gradients.zero_();
}

void DeviceState::gather_average() {
  communicator_.all_gather(elements(own_.average), elements(buffers_.parameters));
}

training::ParameterHashes DeviceState::parameter_hashes() const {
  std::vector<at::Tensor> ranges;
  for (int rank = 0; rank < communicator_.world_size(); ++rank)
    ranges.push_back(hash_(of_interval(buffers_.parameters, partition_.range(rank))));
  ranges.push_back(hash_(own_.parameters));
  const at::Tensor host = at::stack(ranges).to(at::kCPU);
  const std::int64_t* const hashes = host.const_data_ptr<std::int64_t>();
  return {{hashes, hashes + communicator_.world_size()},
          static_cast<std::uint64_t>(hashes[communicator_.world_size()])};
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
