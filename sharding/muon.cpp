#include "sharding/muon.hpp"

#include <algorithm>
#include <cmath>

#include "operations/torch_prefix.hpp"

namespace kangpt::sharding {
namespace {

constexpr int kSteps = 5;
// In fp32 squares of what is below 1e-19 vanish, and with them the norm of a matrix may lack 1e-13 of its length: that
// must not make a matrix longer than 1, whose steps would grow without end.
constexpr double kLeastNorm = 1e-13;

}  // namespace

std::vector<OwnedMatrix> matrices_in(const training::OptimizerUpdate& update, FlatInterval range) {
  std::vector<OwnedMatrix> matrices;
  for (const training::RateRange& rate : update.rates) {
    const FlatInterval own{std::max(rate.begin, range.begin), std::min(rate.end, range.end)};
    if (rate.rows == 0 || own.begin >= own.end) continue;
    matrices.push_back({.matrix = {rate.begin, rate.end},
                        .own = own,
                        .rows = static_cast<std::int64_t>(rate.rows),
                        .learning_rate = update.learning_rate * rate.factor});
  }
  return matrices;
}

bool is_any_matrix_cut(const training::OptimizerUpdate& update, const Partition& partition) {
  return std::ranges::any_of(update.rates, [&](const training::RateRange& rate) {
    return rate.rows > 0 && partition.cuts({rate.begin, rate.end});
  });
}

void muon_direction(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, std::span<float> gradient,
                    const training::OptimizerUpdate& update) {
  const auto scale = static_cast<float>(update.gradient_scale);
  const auto kept = static_cast<float>(update.muon_momentum);
  const auto added = static_cast<float>(1 - update.muon_momentum);
  const auto beta2 = static_cast<float>(update.beta2);
  const auto one_minus_beta2 = static_cast<float>(1 - update.beta2);
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const float g = gradient[i] * scale;
    const float m = kept * from.first_moment[i] + added * g;
    to.first_moment[i] = m;
    to.second_moment[i] = beta2 * from.second_moment[i] + one_minus_beta2 * g * g;
    to.parameters[i] = kept * m + added * g;
    gradient[i] = 0;
  }
}

at::Tensor muon_step(const at::Tensor& direction) {
  const bool is_tall = direction.size(0) > direction.size(1);
  at::Tensor x = direction / (direction.norm() + kLeastNorm);
  if (is_tall) x = x.t();
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor square = at::mm(x, x.t());
    x = at::addmm(x, at::addmm(square, square, square, -4.775, 2.0315), x, 3.4445);
  }
  const double ratio = static_cast<double>(direction.size(0)) / static_cast<double>(direction.size(1));
  return (is_tall ? x.t() : x).mul(std::sqrt(std::max(1.0, ratio))).contiguous();
}

void muon_parameters(std::span<const float> parameters, std::span<const float> step, std::span<float> new_parameters,
                     const OwnedMatrix& matrix, double weight_decay) {
  const auto rate = static_cast<float>(matrix.learning_rate);
  const auto decay = static_cast<float>(matrix.learning_rate * weight_decay);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    new_parameters[i] = parameters[i] - decay * parameters[i] - rate * step[i];
  }
}

}  // namespace kangpt::sharding
