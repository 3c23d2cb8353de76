#include "operations/flat_operations.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <vector>

#include "operations/muon_step.hpp"

namespace kangpt::operations {
namespace {

constexpr std::int64_t kRowsAtOnce = 1024;  // their products, 16 MiB, stay in a GPU's cache until they are summed up

at::Tensor of_part(const at::Tensor& flat, const RatePart& part) {
  return flat.narrow(0, part.begin, part.end - part.begin);
}

at::Tensor own(const at::Tensor& range, const OwnMatrix& matrix) {
  return range.narrow(0, matrix.own, matrix.end - matrix.begin);
}

at::Tensor make_rate_factors(const RatePart& part, const at::Tensor& elements) {
  const at::Tensor cycle = at::empty({static_cast<std::int64_t>(part.cycle.size())}, at::kDouble);
  std::copy(part.cycle.begin(), part.cycle.end(), cycle.data_ptr<double>());
  const std::int64_t turns = elements.numel() / cycle.numel() + 2;
  return cycle.to(elements.options()).repeat(turns).narrow(0, part.cycle_start, elements.numel());
}

class AtenFlatOperations final : public FlatOperations {
 public:
  void adamw(const AdamwTensors& tensors, const AdamwUpdate& update, std::span<const RatePart> parts) override {
    for (const RatePart& part : parts) update_part(tensors, update, part);
  }

  void muon_directions(const MuonTensors& tensors, const MuonUpdate& u, std::span<const OwnMatrix> matrices) override {
    for (const OwnMatrix& matrix : matrices) {
      const at::Tensor gradient = own(tensors.gradient, matrix).mul_(u.gradient_scale);
      const at::Tensor momentum = own(tensors.first_moment, matrix).mul_(u.momentum).add_(gradient, 1 - u.momentum);
      own(tensors.second_moment, matrix).mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
      own(tensors.directions, matrix).copy_(gradient.lerp(momentum, u.momentum));
      gradient.zero_();
    }
  }

  void muon_parameters(const at::Tensor& parameters, const at::Tensor& directions, const MuonUpdate& u,
                       std::span<const OwnMatrix> matrices) override {
    for (const OwnMatrix& m : matrices) {
      const at::Tensor direction = directions.narrow(0, m.matrix, m.rows * m.columns).view({m.rows, m.columns});
      const at::Tensor own_step = muon_step(direction).view({-1}).narrow(0, m.begin, m.end - m.begin);
      const double rate = u.learning_rate * m.rate_factor;
      own(parameters, m).mul_(1 - rate * u.weight_decay).sub_(own_step, rate);
    }
  }

  at::Tensor squared_norms(const at::Tensor& values, std::int64_t slices) override {
    const std::int64_t size = values.numel() / slices;
    std::vector<at::Tensor> sums;  // one by one, since the order within a slice may not depend on how many there are
    for (std::int64_t slice = 0; slice < slices; ++slice)
      sums.push_back(values.narrow(0, slice * size, size).to(at::kDouble).square_().sum());
    return at::stack(sums);
  }

  at::Tensor hashes(const at::Tensor& values, std::int64_t ranges) override {
    const std::int64_t size = values.numel() / ranges;
    make_sufficient(factors_, size, values.device());
    std::vector<at::Tensor> hashes;
    for (std::int64_t range = 0; range < ranges; ++range)
      hashes.push_back(hash(values.narrow(0, range * size, size).view(at::kInt)));
    return at::stack(hashes);
  }

 private:
  void update_part(const AdamwTensors& tensors, const AdamwUpdate& u, const RatePart& part) {
    const auto t = static_cast<double>(u.t);
    const double step_size = part.learning_rate / (1 - std::pow(u.beta1, t));
    const double root_correction = 1 / std::sqrt(1 - std::pow(u.beta2, t));
    const at::Tensor gradient = of_part(tensors.gradient, part);
    gradient.mul_(u.gradient_scale);
    const at::Tensor first_moment = of_part(tensors.first_moment, part).mul_(u.beta1).add_(gradient, 1 - u.beta1);
    const at::Tensor second_moment =
        of_part(tensors.second_moment, part).mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
    const at::Tensor denominator = second_moment.sqrt().mul_(root_correction).add_(u.epsilon);
    const at::Tensor parameters = of_part(tensors.parameters, part);
    const double decay = part.learning_rate * u.weight_decay;
    if (part.cycle.empty()) {
      parameters.mul_(1 - decay).addcdiv_(first_moment, denominator, -step_size);
    } else {
      const at::Tensor change = first_moment / denominator * step_size + parameters * decay;
      parameters.sub_(change.mul_(rate_factors(part, parameters)));
    }
    gradient.zero_();
  }

  // Made once, since a copy from the host would hold up every step.
  const at::Tensor& rate_factors(const RatePart& part, const at::Tensor& elements) {
    at::Tensor& factors = rate_factors_[{{part.cycle.begin(), part.cycle.end()}, part.cycle_start, elements.numel()}];
    if (!factors.defined()) factors = make_rate_factors(part, elements);
    return factors;
  }

  at::Tensor hash(const at::Tensor& bits) const {
    constexpr std::int64_t kColumns = HashFactors::kColumns;
    const std::int64_t rows = bits.numel() / kColumns;
    const std::int64_t left = bits.numel() % kColumns;
    std::vector<at::Tensor> sums;
    if (rows > 0) sums.push_back(hash_of_rows(bits.narrow(0, 0, rows * kColumns).view({rows, kColumns})));
    if (left > 0) {
      const at::Tensor factors = factors_.columns.narrow(0, 0, left);
      sums.push_back((bits.narrow(0, rows * kColumns, left) * factors).sum(0, true) * factors_.rows.narrow(0, rows, 1));
    }
    return at::cat(sums).sum();
  }

  at::Tensor hash_of_rows(const at::Tensor& bits) const {
    std::vector<at::Tensor> sums;
    for (std::int64_t begin = 0; begin < bits.size(0); begin += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, bits.size(0) - begin);
      sums.push_back((bits.narrow(0, begin, rows) * factors_.columns).sum(1));
    }
    return at::cat(sums) * factors_.rows.narrow(0, 0, bits.size(0));
  }

  HashFactors factors_;
  // By cycle, where in it the first element is, and elements.
  std::map<std::tuple<std::vector<double>, std::int64_t, std::int64_t>, at::Tensor> rate_factors_;
};

}  // namespace

std::unique_ptr<FlatOperations> make_aten_flat_operations() {
  return std::make_unique<AtenFlatOperations>();
}

}  // namespace kangpt::operations
