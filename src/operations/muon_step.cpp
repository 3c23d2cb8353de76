#include "operations/muon_step.hpp"

#include <algorithm>
#include <cmath>

#include "operations/torch_prefix.hpp"

namespace kangpt::operations {

at::Tensor muon_step(const at::Tensor& direction) {
  using Newton = NewtonSchulz;
  const bool is_tall = direction.size(0) > direction.size(1);
  at::Tensor x = direction / (direction.norm() + Newton::kLeastNorm);
  if (is_tall) x = x.t();
  for (int step = 0; step < Newton::kSteps; ++step) {
    const at::Tensor square = at::mm(x, x.t());
    x = at::addmm(x, at::addmm(square, square, square, Newton::kCubic, Newton::kQuintic), x, Newton::kLinear);
  }
  return (is_tall ? x.t() : x).mul(muon_scale(direction.size(0), direction.size(1))).contiguous();
}

double muon_scale(std::int64_t rows, std::int64_t columns) {
  return std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns)));
}

}  // namespace kangpt::operations
