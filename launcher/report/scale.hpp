// Axes: which values get a label, and where a value lies.
#pragma once

#include <string>
#include <vector>

namespace kangpt::report {

// Multiples of 1, 2 or 5 times a power of ten within [low, high]: the finest such step that gives at most `most` of
// them. REQUIRES: low and high are finite, most >= 2.
std::vector<double> linear_ticks(double low, double high, int most);
// 1, 2 and 5 times the powers of ten within [low, high], or the powers alone where that are more than `most`.
// REQUIRES: 0 < low <= high.
std::vector<double> logarithmic_ticks(double low, double high, int most);

// "0.25", "1.5k", "20M", "3e-5": short, and another text for each of `ticks`.
std::vector<std::string> tick_texts(const std::vector<double>& ticks);

// Maps values to [0, 1].
class Axis {
 public:
  enum class Kind { kLinear, kLogarithmic };
  // A range that is empty is widened. Logarithmic needs 0 < low and is linear elsewhere.
  Axis(double low, double high, Kind kind = Kind::kLinear);

  double at(double value) const;
  std::vector<double> ticks(int most) const;
  Kind kind() const noexcept { return kind_; }
  double low() const noexcept { return low_; }
  double high() const noexcept { return high_; }

 private:
  double low_;
  double high_;
  Kind kind_;
};

}  // namespace kangpt::report
