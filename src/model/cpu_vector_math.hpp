// Elementary functions that compilers turn into vector code.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// A kernel's body, inlined into the versions for each instruction set.
#define KANGPT_INLINE inline __attribute__((always_inline))

// Compiles a function once for each instruction set; the loader picks. Sanitizers can't run its resolvers.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KANGPT_VERSIONS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KANGPT_VERSIONS
#endif

namespace kangpt::model::kernels {

// exp(x) to 2 units in the last place for -87 <= x <= 88; beyond, the value at that limit. NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, Taylor's polynomial of degree 7 for exp(r), 2^n by its bits.
KANGPT_INLINE float exponential(float x) {
  constexpr float kRound = 0x1.8p23F;  // adding it leaves an integer in the low bits
  x = x < -87.0F ? -87.0F : x;
  x = x > 88.0F ? 88.0F : x;
  const float shifted = x * 0x1.715476p0F + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0x1.62e4p-1F) - n * 0x1.7f7d1cp-20F;  // ln 2 in two parts
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1;
  p = p * r + 1;
  const auto exponent = (std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3F800000U;
  return p * std::bit_cast<float>(exponent);
}
KANGPT_INLINE double exponential(double x) {
  return std::exp(x);
}

// tanh(x) to 1e-7 absolute.
KANGPT_INLINE float hyperbolic_tangent(float x) {
  const float e = exponential(-2 * __builtin_fabsf(x));
  return __builtin_copysignf((1 - e) / (1 + e), x);
}
KANGPT_INLINE double hyperbolic_tangent(double x) {
  return std::tanh(x);
}

}  // namespace kangpt::model::kernels
