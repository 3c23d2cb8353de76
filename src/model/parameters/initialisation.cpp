#include "model/parameters/initialisation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

namespace kangpt::model {
namespace {

constexpr double kCut = 2;                       // deviations
constexpr double kCutDeviation = 0.87962566103;  // of a unit normal distribution cut at kCut

// Swish by the approximant of Pade of order 3/4 of tanh(x / 2): x / 2 (1 + tanh(x / 2)), to 1.4e-4 for |x| <= 3. The
// denominator begins with 1.
constexpr std::array<float, 6> kSwishNumerator = {0, 1.0F / 2, 1.0F / 4, 3.0F / 56, 1.0F / 168, 1.0F / 3360};
constexpr std::array<float, 4> kSwishDenominator = {0, 3.0F / 28, 0, 1.0F / 1680};

// A bijection of 64 bits that hides every pattern of its input: SplitMix64's finaliser (Steele, Lea and Flood, 2014).
std::uint64_t scramble(std::uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ULL;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBULL;
  return bits ^ (bits >> 31);
}

// Random numbers by index: no state, so the order and the number of threads don't matter.
class CounterGenerator {
 public:
  CounterGenerator(std::uint64_t seed, const std::string& name) : key_(scramble(seed)) {
    for (const char letter : name) key_ = scramble(key_ ^ static_cast<unsigned char>(letter));
  }
  // Unit normal (Box and Muller, 1958). Different pairs (index, attempt) are independent.
  double normal(std::uint64_t index, std::uint64_t attempt) const {
    const double radius = std::sqrt(-2 * std::log(uniform(2 * index, attempt)));
    return radius * std::cos(2 * std::numbers::pi * uniform(2 * index + 1, attempt));
  }

 private:
  // In (0, 1].
  double uniform(std::uint64_t counter, std::uint64_t attempt) const {
    const std::uint64_t bits = scramble(key_ ^ scramble(counter + (attempt << 48)));
    return static_cast<double>((bits >> 11) + 1) * 0x1p-53;
  }

  std::uint64_t key_;
};

enum class Rule { kZero, kOne, kNormal, kCutNormal };

struct Initialiser {
  Rule rule;
  double deviation = 0;
};

// Product of all extents but the first: what one output of a dense, convolution or depthwise layer sums over.
double fan_in(const std::vector<std::int64_t>& shape) {
  return static_cast<double>(std::accumulate(shape.begin() + 1, shape.end(), std::int64_t{1}, std::multiplies<>()));
}

Initialiser initialiser_of(const base::ParameterEntry& entry, const config::ModelConfig& model) {
  if (entry.name.ends_with("norm.weight")) return {Rule::kOne};
  if (entry.name.ends_with(".bias") || entry.name.ends_with("offset_pointwise.weight")) return {Rule::kZero};
  if (entry.name.ends_with("embedding.weight")) return {Rule::kNormal, 1 / std::sqrt(model.d_model)};
  if (entry.name.ends_with("kan.coefficients")) {
    return {Rule::kNormal, 1.0 / (static_cast<double>(model.d_model) * (model.kan_degree + 1))};
  }
  return {Rule::kCutNormal, 1 / std::sqrt(fan_in(entry.shape)) / kCutDeviation};
}

double draw(const CounterGenerator& generator, Rule rule, std::uint64_t index) {
  double value = generator.normal(index, 0);
  if (rule == Rule::kNormal) return value;
  for (std::uint64_t attempt = 1; std::abs(value) > kCut; ++attempt) value = generator.normal(index, attempt);
  return value;
}

// What each row of a parameter starts with, of learnt functions of groups of channels; empty for all others. The input
// begins as it is, the hidden features with an activation, as in the Kolmogorov-Arnold Transformer.
std::vector<float> first_row(const base::ParameterEntry& entry) {
  const std::string& name = entry.name;
  const bool is_input = name.find("_kan.input.") != std::string::npos;
  if (!is_input && name.find("_kan.hidden.") == std::string::npos) return {};
  std::vector<float> row(static_cast<std::size_t>(entry.shape.back()), 0.0F);
  if (name.ends_with(".numerator")) {
    if (is_input) return {0, 1, 0, 0, 0, 0};
    return {kSwishNumerator.begin(), kSwishNumerator.end()};
  }
  if (name.ends_with(".denominator")) {
    if (is_input) return row;
    return {kSwishDenominator.begin(), kSwishDenominator.end()};
  }
  // T_1 = tanh(x); T_0 / 4 + T_1 / 2 + T_2 / 4 = tanh(x) sigmoid(2 x), a Swish that stays within -1/8 and 1.
  row[1] = 1;
  if (!is_input && row.size() > 2) row[0] = 0.25F, row[1] = 0.5F, row[2] = 0.25F;
  return row;
}

}  // namespace

void initialise(const config::ModelConfig& model, const base::ParameterTable& table, std::uint64_t seed,
                std::span<float> flat) {
  std::fill(flat.begin(), flat.end(), 0.0F);
  for (const base::ParameterEntry& entry : table.entries) {
    const std::span<float> values = flat.subspan(entry.offset, entry.size);
    if (const std::vector<float> row = first_row(entry); !row.empty()) {
      for (std::size_t index = 0; index < values.size(); ++index) values[index] = row[index % row.size()];
      continue;
    }
    const auto [rule, deviation] = initialiser_of(entry, model);
    if (rule == Rule::kOne) std::fill(values.begin(), values.end(), 1.0F);
    if (rule == Rule::kZero || rule == Rule::kOne) continue;
    const CounterGenerator generator(seed, entry.name);
    for (std::size_t index = 0; index < values.size(); ++index) {
      values[index] = static_cast<float>(deviation * draw(generator, rule, index));
    }
  }
}

}  // namespace kangpt::model
