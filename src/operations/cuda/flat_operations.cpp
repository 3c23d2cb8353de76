#include "operations/flat_operations.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "operations/cuda/kernels.hpp"
#include "operations/cuda/muon_memory.hpp"
#include "operations/cuda/tensors.hpp"

namespace kangpt::operations {
namespace {

using cuda::read;
using cuda::written;

static_assert(HashFactors::kColumns == cuda::kHashColumns);

// Fills the arrays that go to the device with a launch.
class AdamwLaunch {
 public:
  AdamwLaunch(const AdamwTensors& tensors, const AdamwUpdate& u)
      : bias_correction_(1 - std::pow(u.beta1, static_cast<double>(u.t))),
        weight_decay_(u.weight_decay),
        a_{.parameters = written(tensors.parameters),
           .first_moment = written(tensors.first_moment),
           .second_moment = written(tensors.second_moment),
           .gradient = written(tensors.gradient),
           .beta1 = static_cast<float>(u.beta1),
           .one_minus_beta1 = static_cast<float>(1 - u.beta1),
           .beta2 = static_cast<float>(u.beta2),
           .one_minus_beta2 = static_cast<float>(1 - u.beta2),
           .gradient_scale = static_cast<float>(u.gradient_scale),
           .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(u.beta2, static_cast<double>(u.t)))),
           .epsilon = static_cast<float>(u.epsilon),
           .count = 0,
           .parts = {},
           .factors = {1}} {}

  // Whether there was room.
  bool add(const RatePart& part) {
    if (a_.count == cuda::kAdamwParts) return false;
    const int first_factor = place_of(part.cycle);
    if (first_factor < 0) return false;
    a_.parts[a_.count++] = {.begin = part.begin,
                            .end = part.end,
                            .step_size = static_cast<float>(part.learning_rate / bias_correction_),
                            .decay = static_cast<float>(part.learning_rate * weight_decay_),
                            .first_factor = first_factor,
                            .cycle_length = part.cycle.empty() ? 1 : static_cast<int>(part.cycle.size()),
                            .cycle_start = static_cast<int>(part.cycle_start),
                            .first_block = 0};
    return true;
  }

  const cuda::Adamw& arguments() const { return a_; }

 private:
  // Of a cycle among the factors, of which the first stands for none; -1: there is no room for it.
  int place_of(std::span<const double> cycle) {
    if (cycle.empty()) return 0;
    const auto size = static_cast<int>(cycle.size());
    const auto is_same = [](float a, double b) { return a == static_cast<float>(b); };
    for (int place = 0; place + size <= factors_; ++place) {
      if (std::equal(a_.factors + place, a_.factors + place + size, cycle.begin(), cycle.end(), is_same)) return place;
    }
    if (factors_ + size > cuda::kAdamwFactors) return -1;
    std::transform(cycle.begin(), cycle.end(), a_.factors + factors_,
                   [](double factor) { return static_cast<float>(factor); });
    factors_ += size;
    return factors_ - size;
  }

  double bias_correction_;
  double weight_decay_;
  cuda::Adamw a_;
  int factors_ = 1;
};

class CudaFlatOperations final : public FlatOperations {
 public:
  // As many launches as the parts need; that is one, unless a network has more of them than any here.
  void adamw(const AdamwTensors& tensors, const AdamwUpdate& update, std::span<const RatePart> parts) override {
    if (!std::ranges::all_of(parts, has_room)) return aten_->adamw(tensors, update, parts);
    while (!parts.empty()) {
      AdamwLaunch some(tensors, update);
      while (!parts.empty() && some.add(parts.front())) parts = parts.subspan(1);
      cuda::adamw(some.arguments(), cuda::stream_of(tensors.parameters));
    }
  }

  void muon_directions(const MuonTensors& tensors, const MuonUpdate& update,
                       std::span<const OwnMatrix> matrices) override {
    muon_.directions(tensors, update, matrices);
  }
  void muon_parameters(const at::Tensor& parameters, const at::Tensor& directions, const MuonUpdate& update,
                       std::span<const OwnMatrix> matrices) override {
    muon_.parameters(parameters, directions, update, matrices);
  }

  at::Tensor squared_norms(const at::Tensor& values, std::int64_t slices) override {
    const std::int64_t size = values.numel() / slices;
    const at::TensorOptions options = values.options().dtype(at::kDouble);
    const at::Tensor partials = norm_partials_.take({cuda::flat_sum_partials(slices, size)}, options);
    const at::Tensor norms = norms_.take({slices}, options);
    cuda::squared_norms(
        {read(values), partials.mutable_data_ptr<double>(), norms.mutable_data_ptr<double>(), slices, size},
        cuda::stream_of(values));
    return norms;
  }

  at::Tensor hashes(const at::Tensor& values, std::int64_t ranges) override {
    const std::int64_t size = values.numel() / ranges;
    make_sufficient(factors_, size, values.device());
    const at::TensorOptions options = values.options().dtype(at::kLong);
    const at::Tensor partials = hash_partials_.take({cuda::flat_sum_partials(ranges, size)}, options);
    const at::Tensor hashes = at::empty({ranges}, options);
    const auto bits = [](const at::Tensor& tensor) { return static_cast<std::uint64_t*>(tensor.data_ptr()); };
    cuda::hash_ranges(
        {read(values), bits(factors_.columns), bits(factors_.rows), bits(partials), bits(hashes), ranges, size},
        cuda::stream_of(values));
    return hashes;
  }

 private:
  static bool has_room(const RatePart& part) { return part.cycle.size() < cuda::kAdamwFactors; }

  std::unique_ptr<FlatOperations> aten_ = make_aten_flat_operations();
  HashFactors factors_;
  cuda::MuonMemory muon_;
  cuda::Reserve norm_partials_, norms_, hash_partials_;
};

}  // namespace

std::unique_ptr<FlatOperations> make_cuda_flat_operations() {
  return std::make_unique<CudaFlatOperations>();
}

}  // namespace kangpt::operations
