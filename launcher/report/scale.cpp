#include "launcher/report/scale.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "launcher/report/markup.hpp"

namespace kangpt::report {
namespace {

constexpr std::array<double, 3> kSteps = {1, 2, 5};
constexpr double kRounding = 1e-9;  // of a step: what is as near as this counts as being on it

constexpr double kTiny = 1e-200;  // what is nearer to 0 is no step to divide by

// So near to each other that steps between them would vanish in rounding.
bool are_one(double low, double high) {
  return !(high - low > std::max(kRounding * std::max(std::abs(low), std::abs(high)), kTiny));
}

std::vector<double> multiples(double step, double low, double high) {
  const double first = std::ceil(low / step - kRounding), last = std::floor(high / step + kRounding);
  std::vector<double> values;
  for (double i = first; i <= last; ++i) values.push_back(i == 0 ? 0 : i * step);  // 0 without a sign
  return values;
}

double number_of_multiples(double step, double low, double high) {
  return std::floor(high / step + kRounding) - std::ceil(low / step - kRounding) + 1;
}

}  // namespace

std::vector<double> linear_ticks(double low, double high, int most) {
  if (are_one(low, high)) return {low};
  const double finest = (high - low) / (most + 1);
  for (double power = std::pow(10, std::floor(std::log10(finest)));; power *= 10) {
    for (const double step : kSteps) {
      if (number_of_multiples(step * power, low, high) <= most) return multiples(step * power, low, high);
    }
  }
}

std::vector<double> logarithmic_ticks(double low, double high, int most) {
  std::vector<double> all, powers;
  for (double exponent = std::floor(std::log10(low)); exponent <= std::log10(high) + kRounding; ++exponent) {
    for (const double step : kSteps) {
      const double value = step * std::pow(10, exponent);
      if (value < low * (1 - kRounding) || value > high * (1 + kRounding)) continue;
      all.push_back(value);
      if (step == 1) powers.push_back(value);
    }
  }
  if (all.size() < 2) return linear_ticks(low, high, most);  // a short piece of a decade
  return all.size() <= static_cast<std::size_t>(most) || powers.size() < 2 ? all : powers;
}

std::vector<std::string> tick_texts(const std::vector<double>& ticks) {
  std::vector<std::string> texts;
  for (const double tick : ticks) texts.push_back(short_number(tick));
  return texts;
}

Axis::Axis(double low, double high, Kind kind) : low_(low), high_(high), kind_(kind) {
  if (are_one(low_, high_)) {
    const double margin = std::abs(low_) > kTiny ? std::abs(low_) / 2 : 1;
    low_ -= margin;
    high_ = low_ + 2 * margin;
  }
  if (low_ <= 0) kind_ = Kind::kLinear;
}

double Axis::at(double value) const {
  if (kind_ == Kind::kLinear) return (value - low_) / (high_ - low_);
  return (std::log(value) - std::log(low_)) / (std::log(high_) - std::log(low_));
}

std::vector<double> Axis::ticks(int most) const {
  return kind_ == Kind::kLinear ? linear_ticks(low_, high_, most) : logarithmic_ticks(low_, high_, most);
}

}  // namespace kangpt::report
