#include "training/learning_rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

namespace kangpt::training {
namespace {

constexpr std::uint64_t kAlignment = 16;  // of parameters in the flat buffer, in elements: gaps are shorter

double rate_factor(const config::OptimizerSection& optimizer, const std::string& name) {
  if (!name.starts_with("layers.")) return 1;
  const double factor = optimizer.layer_learning_rate_factor;
  if (name.ends_with("kan.coefficients")) return factor * optimizer.kan_learning_rate_factor;
  if (name.find(".deformable.offset_") != std::string::npos) return factor * optimizer.offset_learning_rate_factor;
  return factor;
}

}  // namespace

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
  std::vector<RateRange> ranges;
  for (const base::ParameterEntry& entry : table.entries) {
    const double factor = rate_factor(optimizer, entry.name);
    if (factor == 1) continue;
    const std::uint64_t end = entry.offset + entry.size;
    if (ranges.empty() || ranges.back().factor != factor || entry.offset - ranges.back().end >= kAlignment) {
      ranges.push_back({entry.offset, end, factor});
    }
    ranges.back().end = end;
  }
  return ranges;
}

}  // namespace kangpt::training
