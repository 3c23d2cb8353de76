#include "training/learning_rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

namespace kangpt::training {
namespace {

constexpr std::uint64_t kAlignment = 16;  // of parameters in the flat buffer, in elements: gaps are shorter

double rate_factor(const config::OptimizerSection& optimizer, const std::string& name) {
  if (name == "token_embedding.weight") return optimizer.embedding_learning_rate_factor;
  if (!name.starts_with("layers.")) return 1;
  const double factor = optimizer.layer_learning_rate_factor;
  if (name.ends_with("kan.coefficients")) return factor * optimizer.kan_learning_rate_factor;
  if (name.find(".deformable.offset_") != std::string::npos) return factor * optimizer.offset_learning_rate_factor;
  return factor;
}

// Of the degrees of one pair of input and output, which lie side by side.
std::vector<double> cycle_of(const config::OptimizerSection& optimizer, const base::ParameterEntry& entry) {
  if (!entry.name.ends_with("kan.coefficients") || optimizer.kan_constant_rate_factor == 1) return {};
  std::vector<double> cycle(static_cast<std::size_t>(entry.shape.back()), 1);
  cycle.front() = optimizer.kan_constant_rate_factor;
  return cycle;
}

bool is_of_muon(const config::OptimizerSection& optimizer, const base::ParameterEntry& entry) {
  const std::string& name = entry.name;
  return optimizer.muon_learning_rate > 0 && name.starts_with("layers.") && name.ends_with(".weight") &&
         entry.shape.size() == 2 && name.find("depthwise") == std::string::npos &&
         name.find(".offset_") == std::string::npos;
}

RateRange range_of(const config::OptimizerSection& optimizer, const base::ParameterEntry& entry) {
  RateRange range = {.begin = entry.offset, .end = entry.offset + entry.size};
  if (is_of_muon(optimizer, entry)) {
    range.factor = optimizer.muon_learning_rate / optimizer.learning_rate;
    range.rows = static_cast<std::uint64_t>(entry.shape.front());
  } else {
    range.factor = rate_factor(optimizer, entry.name);
    range.cycle = cycle_of(optimizer, entry);
  }
  return range;
}

bool continues(const RateRange& range, const RateRange& next) {
  const bool is_near = next.begin - range.end < kAlignment;
  return is_near && range.factor == next.factor && range.cycle.empty() && next.cycle.empty() && range.rows == 0 &&
         next.rows == 0;
}

}  // namespace

double learning_rate(const config::OptimizerSection& optimizer, std::uint64_t step, std::uint64_t total_steps) {
  const double peak = optimizer.learning_rate;
  if (step < optimizer.warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(optimizer.warmup_steps);
  const std::uint64_t begin = std::max(optimizer.warmup_steps, decay_begin(optimizer, total_steps));
  if (optimizer.schedule == config::Schedule::kConstant || total_steps <= begin || step <= begin) return peak;
  const double progress = std::min(static_cast<double>(step - begin) / static_cast<double>(total_steps - begin), 1.0);
  const double floor = optimizer.minimum_learning_rate;
  const bool is_cosine = optimizer.schedule == config::Schedule::kCosine;
  const double share = is_cosine ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : 1 - progress;
  return floor + (peak - floor) * share;
}

std::uint64_t decay_begin(const config::OptimizerSection& optimizer, std::uint64_t total_steps) {
  if (optimizer.schedule != config::Schedule::kWsd) return 0;
  const std::uint64_t decay = optimizer.decay_steps != 0 ? optimizer.decay_steps : (total_steps + 9) / 10;
  return total_steps - std::min(decay, total_steps);
}

std::vector<RateRange> rate_ranges(const config::OptimizerSection& optimizer, const base::ParameterTable& table) {
  std::vector<RateRange> ranges;
  for (const base::ParameterEntry& entry : table.entries) {
    RateRange range = range_of(optimizer, entry);
    if (range.factor == 1 && range.cycle.empty() && range.rows == 0) continue;
    if (!ranges.empty() && continues(ranges.back(), range)) {
      ranges.back().end = range.end;
    } else {
      ranges.push_back(std::move(range));
    }
  }
  return ranges;
}

}  // namespace kangpt::training
