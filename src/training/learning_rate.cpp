#include "training/learning_rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kangpt::training {

double learning_rate(const config::OptimizerSection& optimizer, std::uint64_t step, std::uint64_t total_steps) {
  const double peak = optimizer.learning_rate;
  if (step < optimizer.warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(optimizer.warmup_steps);
  if (optimizer.schedule == config::Schedule::kConstant || total_steps <= optimizer.warmup_steps) return peak;
  const double progress =
      static_cast<double>(step - optimizer.warmup_steps) / static_cast<double>(total_steps - optimizer.warmup_steps);
  const double floor = optimizer.minimum_learning_rate;
  return floor + (peak - floor) * 0.5 * (1 + std::cos(std::numbers::pi * std::min(progress, 1.0)));
}

std::vector<RateRange> rate_ranges(const config::OptimizerSection& optimizer, const base::ParameterTable& table) {
  const auto is_in_layer = [](const base::ParameterEntry& entry) { return entry.name.starts_with("layers."); };
  const auto first = std::find_if(table.entries.begin(), table.entries.end(), is_in_layer);
  const auto behind_last = std::find_if_not(first, table.entries.end(), is_in_layer);
  if (first == behind_last || optimizer.layer_learning_rate_factor == 1) return {};
  const base::ParameterEntry& last = *std::prev(behind_last);
  return {{first->offset, last.offset + last.size, optimizer.layer_learning_rate_factor}};
}

}  // namespace kangpt::training
