// Curves of any length in little memory: means, minima and maxima of equally many values each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kangpt::report {

// Values that lie beside each other. A single one where count is 1.
struct Bucket {
  double first_x = 0;
  double last_x = 0;
  double lowest = 0;
  double highest = 0;
  double sum = 0;
  std::uint64_t count = 0;

  double x() const noexcept { return (first_x + last_x) / 2; }
  double mean() const noexcept { return sum / static_cast<double>(count); }
};

// Takes values one after the other. Where there are more than `most_buckets`, neighbours become one, so that no minimum
// and no maximum is lost and all buckets but the last hold equally many values. Not thread-safe.
class Curve {
 public:
  static constexpr std::size_t kMostRemembered = 200;  // values that are not finite
  static constexpr double kLargest = 1e100;            // what is beyond it counts as not finite

  // REQUIRES: most_buckets >= 2.
  explicit Curve(std::size_t most_buckets);

  // REQUIRES: x is above the last one. A y that is not finite is remembered apart.
  void add(double x, double y);

  const std::vector<Bucket>& buckets() const noexcept { return buckets_; }
  // Where y was not finite; the first kMostRemembered of them.
  const std::vector<double>& not_finite() const noexcept { return not_finite_; }

 private:
  void merge_neighbours();

  std::size_t most_buckets_;
  std::uint64_t values_a_bucket_ = 1;
  std::vector<Bucket> buckets_;
  std::vector<double> not_finite_;
};

}  // namespace kangpt::report
