// What Muon makes of the direction of a matrix (Jordan et al., "Muon: an optimizer for hidden layers in neural
// networks", 2024).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kangpt::operations {

// Steps of Newton and Schulz with Jordan's coefficients: X' = linear X + (cubic X X^T + quintic (X X^T)^2) X.
struct NewtonSchulz {
  static constexpr int kSteps = 5;
  static constexpr double kLinear = 3.4445;
  static constexpr double kCubic = -4.775;
  static constexpr double kQuintic = 2.0315;
  // In fp32 squares of what is below 1e-19 vanish, and with them the norm of a matrix may lack 1e-13 of its length:
  // that must not make a matrix longer than 1, whose steps would grow without end.
  static constexpr double kLeastNorm = 1e-13;
};

// [rows, columns] -> muon_scale() times a matrix with about the same singular vectors and singular values near 1 (0.7
// to 1.2).
at::Tensor muon_step(const at::Tensor& direction);

// sqrt(max(1, rows / columns)).
double muon_scale(std::int64_t rows, std::int64_t columns);

}  // namespace kangpt::operations
