#include "sharding/device_state.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/tree_sum.hpp"
#include "sharding/adamw.hpp"
#include "sharding/muon.hpp"

namespace kangpt::sharding {
namespace {

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

// The factor of the learning rate of each element.
at::Tensor rate_factors(const training::OptimizerUpdate& u, const at::Tensor& elements) {
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
      shards_(partition.shards(communicator.rank()).count) {
  const ExchangeMemory::Slot slot = memory_.slot(published_.index);
  my_range(buffers_.parameters).copy_(host_view(slot.parameters));
  first_moment_ = host_view(slot.first_moment).to(buffers_.parameters.device(), at::kFloat, false, true);
  second_moment_ = host_view(slot.second_moment).to(buffers_.parameters.device(), at::kFloat, false, true);
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
  if (added_ == 0) return;
  partial_sums_[level].copy_(buffers_.gradients);
  buffers_.gradients.zero_();
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

void DeviceState::update(const training::OptimizerUpdate& update) {
  const FlatInterval range = partition_.range(communicator_.rank());
  const std::vector<OwnedMatrix> matrices = matrices_in(update, range);
  std::vector<at::Tensor> old_parameters;
  for (const auto& matrix : matrices) old_parameters.push_back(of_interval(buffers_.parameters, matrix.own).clone());
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
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const auto& [matrix, own, rows, rate] = matrices[i];
    const at::Tensor step = muon_step(of_interval(buffers_.parameters, matrix).view({rows, -1})).view({-1});
    const at::Tensor own_step = of_interval(step, {own.begin - matrix.begin, own.end - matrix.begin});
    of_interval(buffers_.parameters, own)
        .copy_(old_parameters[i].mul_(1 - rate * update.weight_decay).sub_(own_step, rate));
  }
}

// As muon_direction().
void DeviceState::take_direction(FlatInterval part, const training::OptimizerUpdate& u) {
  const auto in_part = [&](const at::Tensor& mine) { return of_interval(mine, part); };
  const at::Tensor gradient = in_part(my_range(buffers_.gradients)) * u.gradient_scale;
  const at::Tensor momentum = in_part(first_moment_).mul_(u.muon_momentum).add_(gradient, 1 - u.muon_momentum);
  in_part(second_moment_).mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
  in_part(my_range(buffers_.parameters)).copy_(gradient.lerp(momentum, u.muon_momentum));
}

void DeviceState::update_part(FlatInterval part, const training::OptimizerUpdate& u) {
  const auto in_part = [&](const at::Tensor& mine) { return of_interval(mine, part); };
  const double t = static_cast<double>(u.t);
  const double step_size = u.learning_rate / (1 - std::pow(u.beta1, t));
  const double root_correction = 1 / std::sqrt(1 - std::pow(u.beta2, t));
  const at::Tensor gradient = in_part(my_range(buffers_.gradients)) * u.gradient_scale;
  const at::Tensor first_moment = in_part(first_moment_).mul_(u.beta1).add_(gradient, 1 - u.beta1);
  const at::Tensor second_moment = in_part(second_moment_).mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
  const at::Tensor denominator = second_moment.sqrt().mul_(root_correction).add_(u.epsilon);
  const at::Tensor parameters = in_part(my_range(buffers_.parameters));
  if (!u.cycle.empty()) {
    const at::Tensor change = first_moment / denominator * step_size + parameters * (u.learning_rate * u.weight_decay);
    parameters.sub_(change.mul_(rate_factors(u, parameters)));
    return;
  }
  parameters.mul_(1 - u.learning_rate * u.weight_decay).addcdiv_(first_moment, denominator, -step_size);
}

void DeviceState::gather_parameters() {
  communicator_.all_gather(elements(my_range(buffers_.parameters)), elements(buffers_.parameters));
  buffers_.gradients.zero_();
}

// The update is done in the buffer itself, so that a rank's own range can't differ from its copy of it.
training::ParameterHashes DeviceState::parameter_hashes() const {
  const at::Tensor host = buffers_.parameters.to(at::kCPU);
  training::ParameterHashes hashes;
  for (int rank = 0; rank < communicator_.world_size(); ++rank) {
    const FlatInterval range = partition_.range(rank);
    hashes.copied_ranges.push_back(block_checksum(elements(host).subspan(range.begin, range.size())));
  }
  hashes.own_range = hashes.copied_ranges[static_cast<std::size_t>(communicator_.rank())];
  return hashes;
}

void DeviceState::publish(const io::TrainingState& state, Destination destination) {
  const int target = memory_.claim_slot(published_.index);
  const ExchangeMemory::Slot slot = memory_.slot(target);
  host_view(slot.parameters).copy_(my_range(buffers_.parameters));
  host_view(slot.first_moment).copy_(first_moment_);
  host_view(slot.second_moment).copy_(second_moment_);
  Publication publication{.state = state, .checksum = slot_checksum(slot)};
  publication.write_checkpoint = destination == Destination::kDisk ? 1 : 0;
  published_.publish(target, publication);
  published_.index = target;
}

}  // namespace kangpt::sharding
