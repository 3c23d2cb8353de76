#include "sharding/adamw.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/processor/vector_clones.hpp"

namespace kangpt::sharding {
namespace {

constexpr std::uint64_t kBlockElements = 1024;
constexpr std::int64_t kBlocksPerTask = 64;

// The update in fp32 with everything that is constant over elements worked out.
struct Coefficients {
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float gradient_scale;
  float step_size;        // lr / (1 - b1^t)
  float root_correction;  // 1 / sqrt(1 - b2^t)
  float epsilon;
  float decay;  // lr * weight_decay
};

Coefficients coefficients(const training::OptimizerUpdate& u) {
  const double t = static_cast<double>(u.t);
  return {.beta1 = static_cast<float>(u.beta1),
          .one_minus_beta1 = static_cast<float>(1 - u.beta1),
          .beta2 = static_cast<float>(u.beta2),
          .one_minus_beta2 = static_cast<float>(1 - u.beta2),
          .gradient_scale = static_cast<float>(u.gradient_scale),
          .step_size = static_cast<float>(u.learning_rate / (1 - std::pow(u.beta1, t))),
          .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(u.beta2, t))),
          .epsilon = static_cast<float>(u.epsilon),
          .decay = static_cast<float>(u.learning_rate * u.weight_decay)};
}

// The cycle's factors for a block that begins anywhere in it: from its first element, for a block and one turn more.
std::vector<float> factors_of(const training::OptimizerUpdate& u) {
  if (u.cycle.empty()) return std::vector<float>(kBlockElements, 1.0F);
  std::vector<float> factors(kBlockElements + u.cycle.size());
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = static_cast<float>(u.cycle[i % u.cycle.size()]);
  return factors;
}

struct Block {
  const float* rate_factors;
  const float* parameters;
  const float* first_moment;
  const float* second_moment;
  const float* gradient;
  float* new_parameters;
  float* new_first_moment;
  float* new_second_moment;
};

// Source and target may be the same memory, but element by element. Clang has no name for that: it looks while it runs.
#if defined(__clang__)
#define KANGPT_ELEMENT_BY_ELEMENT
#else
#define KANGPT_ELEMENT_BY_ELEMENT _Pragma("GCC ivdep")
#endif

KANGPT_VECTOR_CLONES void update_block(const Block& block, const Coefficients& coefficients, std::uint64_t size) {
  const Block b = block;
  const Coefficients c = coefficients;
  KANGPT_ELEMENT_BY_ELEMENT
  for (std::uint64_t i = 0; i < size; ++i) {
    const float g = b.gradient[i] * c.gradient_scale;
    const float m = c.beta1 * b.first_moment[i] + c.one_minus_beta1 * g;
    const float v = c.beta2 * b.second_moment[i] + c.one_minus_beta2 * g * g;
    const float p = b.parameters[i];
    const float decay = c.decay * b.rate_factors[i];
    const float step_size = c.step_size * b.rate_factors[i];
    b.new_first_moment[i] = m;
    b.new_second_moment[i] = v;
    b.new_parameters[i] = p - decay * p - step_size * m / (std::sqrt(v) * c.root_correction + c.epsilon);
  }
}

struct Average {
  const float* parameters;
  const float* average;
  float* new_average;
};

KANGPT_VECTOR_CLONES void move_towards(const Average& values, float share, std::uint64_t size) {
  const Average v = values;
  KANGPT_ELEMENT_BY_ELEMENT
  for (std::uint64_t i = 0; i < size; ++i) v.new_average[i] = v.average[i] + share * (v.parameters[i] - v.average[i]);
}

KANGPT_VECTOR_CLONES double block_squared_norm(const float* values, std::uint64_t size) {
  std::array<double, 16> lanes{};
  std::uint64_t i = 0;
  for (; i + lanes.size() <= size; i += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  for (; i < size; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

// Calls body(first element, number of elements) for each block, on all threads.
template <typename Body>
void for_each_block(std::uint64_t size, const Body& body) {
  const auto blocks = static_cast<std::int64_t>((size + kBlockElements - 1) / kBlockElements);
  at::parallel_for(0, blocks, kBlocksPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::uint64_t first = static_cast<std::uint64_t>(block) * kBlockElements;
      body(first, std::min(kBlockElements, size - first));
    }
  });
}

// In update.cycle, of an element that lies `elements` behind the first.
std::size_t place_in_cycle(const training::OptimizerUpdate& update, std::uint64_t elements) {
  return update.cycle.empty() ? 0 : (update.cycle_start + elements) % update.cycle.size();
}

}  // namespace

std::vector<PartialUpdate> split_by_rate(const training::OptimizerUpdate& update, FlatInterval range) {
  std::vector<PartialUpdate> result;
  std::uint64_t done = range.begin;
  const auto add_until = [&](std::uint64_t end, const training::RateRange& rate) {
    if (end <= done) return;
    training::OptimizerUpdate part = update;
    part.learning_rate *= rate.factor;
    part.rates = {};
    part.cycle = rate.cycle;
    part.is_of_matrix = rate.rows > 0;
    part = advance(part, done - rate.begin);
    result.push_back({{done - range.begin, end - range.begin}, part});
    done = end;
  };
  for (const training::RateRange& rate : update.rates) {
    add_until(std::min(rate.begin, range.end), {});
    add_until(std::min(rate.end, range.end), rate);
  }
  add_until(range.end, {});
  return result;
}

training::OptimizerUpdate advance(training::OptimizerUpdate update, std::uint64_t elements) {
  update.cycle_start = place_in_cycle(update, elements);
  return update;
}

void adamw(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, std::span<float> gradient,
           const training::OptimizerUpdate& update) {
  const Coefficients c = coefficients(update);
  const std::vector<float> factors = factors_of(update);
  for_each_block(gradient.size(), [&](std::uint64_t first, std::uint64_t size) {
    const Block block{factors.data() + place_in_cycle(update, first),
                      from.parameters.data() + first,
                      from.first_moment.data() + first,
                      from.second_moment.data() + first,
                      gradient.data() + first,
                      to.parameters.data() + first,
                      to.first_moment.data() + first,
                      to.second_moment.data() + first};
    update_block(block, c, size);
    std::fill_n(gradient.data() + first, size, 0.0F);
  });
}

void average_parameters(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to, double decay) {
  move_towards({to.parameters.data(), from.average.data(), to.average.data()}, static_cast<float>(1 - decay),
               to.average.size());
}

double squared_norm(std::span<const float> values) {
  std::vector<double> sums((values.size() + kBlockElements - 1) / kBlockElements);
  for_each_block(values.size(), [&](std::uint64_t first, std::uint64_t size) {
    sums[first / kBlockElements] = block_squared_norm(values.data() + first, size);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

ExchangeMemory::Slot part_of(const ExchangeMemory::Slot& slot, FlatInterval part) {
  const auto in_part = [&](std::span<float> values) {
    return values.empty() ? values : values.subspan(part.begin, part.size());
  };
  return {in_part(slot.parameters), in_part(slot.first_moment), in_part(slot.second_moment), in_part(slot.average)};
}

void copy_slot(const ExchangeMemory::Slot& from, const ExchangeMemory::Slot& to) {
  std::copy(from.parameters.begin(), from.parameters.end(), to.parameters.begin());
  std::copy(from.first_moment.begin(), from.first_moment.end(), to.first_moment.begin());
  std::copy(from.second_moment.begin(), from.second_moment.end(), to.second_moment.begin());
  std::copy(from.average.begin(), from.average.end(), to.average.begin());
}

}  // namespace kangpt::sharding
