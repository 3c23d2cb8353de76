#include "launcher/report/curve.hpp"

#include <algorithm>
#include <cmath>

namespace kangpt::report {
namespace {

void extend(Bucket& bucket, const Bucket& next) {
  bucket.last_x = next.last_x;
  bucket.lowest = std::min(bucket.lowest, next.lowest);
  bucket.highest = std::max(bucket.highest, next.highest);
  bucket.sum += next.sum;
  bucket.count += next.count;
}

}  // namespace

Curve::Curve(std::size_t most_buckets) : most_buckets_(most_buckets) {}

void Curve::add(double x, double y) {
  if (!(std::abs(y) <= kLargest)) {
    if (not_finite_.size() < kMostRemembered) not_finite_.push_back(x);
    return;
  }
  const Bucket value{x, x, y, y, y, 1};
  if (!buckets_.empty() && buckets_.back().count < values_a_bucket_) return extend(buckets_.back(), value);
  if (buckets_.size() == most_buckets_) {
    merge_neighbours();
    if (buckets_.back().count < values_a_bucket_) return extend(buckets_.back(), value);
  }
  buckets_.push_back(value);
}

void Curve::merge_neighbours() {
  std::size_t merged = 0;
  for (std::size_t i = 0; i < buckets_.size(); i += 2, ++merged) {
    Bucket pair = buckets_[i];
    if (i + 1 < buckets_.size()) extend(pair, buckets_[i + 1]);
    buckets_[merged] = pair;
  }
  buckets_.resize(merged);
  values_a_bucket_ *= 2;
}

}  // namespace kangpt::report
