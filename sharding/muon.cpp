#include "sharding/muon.hpp"

#include <algorithm>

namespace kangpt::sharding {

std::vector<OwnedMatrix> matrices_in(const training::OptimizerUpdate& update, FlatInterval range) {
  std::vector<OwnedMatrix> matrices;
  for (const training::RateRange& rate : update.rates) {
    const FlatInterval own{std::max(rate.begin, range.begin), std::min(rate.end, range.end)};
    if (rate.rows == 0 || own.begin >= own.end) continue;
    matrices.push_back({.matrix = {rate.begin, rate.end},
                        .own = own,
                        .rows = static_cast<std::int64_t>(rate.rows),
                        .rate_factor = rate.factor});
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

void muon_parameters(std::span<const float> parameters, std::span<const float> step, std::span<float> new_parameters,
                     const MuonRate& rate) {
  const auto learning_rate = static_cast<float>(rate.learning_rate);
  const auto decay = static_cast<float>(rate.learning_rate * rate.weight_decay);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    new_parameters[i] = parameters[i] - decay * parameters[i] - learning_rate * step[i];
  }
}

}  // namespace kangpt::sharding
