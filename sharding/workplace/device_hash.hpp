// A hash of values that lie on a device, computed there.
#pragma once

#include <cstdint>

#include "operations/torch_prefix.hpp"

namespace kangpt::sharding {

// A sum of the bits of all values, modulo 2^64, each times an odd factor of its own: exact, so that any order of
// summation gives the same, and no change of one value keeps it (Carter and Wegman, 1979, are the model). Not against
// whoever wants equal hashes.
class DeviceHash {
 public:
  // For up to `values` values on `device`.
  DeviceHash(std::int64_t values, const at::Device& device);

  // Of `flat`, 1-D, fp32: [], int64, on the device, which the host does not wait for.
  at::Tensor operator()(const at::Tensor& flat) const;

 private:
  at::Tensor of_rows(const at::Tensor& bits) const;

  // The factor of a value is that of its column times that of its row.
  at::Tensor column_factors_;
  at::Tensor row_factors_;
};

}  // namespace kangpt::sharding
