// Vectors of 16 numbers and elementary functions on them.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

// A kernel's body, inlined into the versions for each instruction set.
#define KANGPT_INLINE inline __attribute__((always_inline))

// Defines void name(const Arguments& a), which calls body(a), once for each instruction set; the processor picks.
// Not by target_clones, which GCC 11 does not know for these levels.
#if defined(__x86_64__)
#define KANGPT_VERSIONS(name, Arguments, body)                                   \
  namespace {                                                                    \
  __attribute__((target("arch=x86-64-v4"))) void name##_v4(const Arguments& a) { \
    body(a);                                                                     \
  }                                                                              \
  __attribute__((target("arch=x86-64-v3"))) void name##_v3(const Arguments& a) { \
    body(a);                                                                     \
  }                                                                              \
  void name##_v1(const Arguments& a) {                                           \
    body(a);                                                                     \
  }                                                                              \
  }                                                                              \
  void name(const Arguments& a) {                                                \
    const int level = processor_level();                                         \
    return level == 4 ? name##_v4(a) : level == 3 ? name##_v3(a) : name##_v1(a); \
  }
#else
#define KANGPT_VERSIONS(name, Arguments, body) \
  void name(const Arguments& a) {              \
    body(a);                                   \
  }
#endif

// Defines kernel `name` in both precisions from a template name_body<T>. Double is for oracles: one version will do.
// NOLINTBEGIN(bugprone-macro-parentheses): names of functions and templates
#define KANGPT_KERNEL(name, Arguments)                        \
  KANGPT_VERSIONS(name, Arguments<float>, name##_body<float>) \
  void name(const Arguments<double>& a) {                     \
    name##_body<double>(a);                                   \
  }
// NOLINTEND(bugprone-macro-parentheses)

namespace kangpt::operations::cpu {

inline constexpr std::int64_t kLanes = 16;

#if defined(__x86_64__)
// The highest of the levels 4, 3 and 1 of x86-64 that this processor has: what -march=x86-64-v4 and -v3 may use.
inline int processor_level() {
  static const int level = [] {
#if defined(__clang__)  // which does not know these names; the processors that have the others have them
    const bool has_rest = true;
#else
    const bool has_rest =
        __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("movbe");
#endif
    const bool is_v3 = has_rest && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                       __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512vl");
    return !is_v3 ? 1 : has_avx512 ? 4 : 3;
  }();
  return level;
}
#endif

// Vectors of the compiler: arithmetic and comparisons by lane; one AVX-512 register of floats, two of AVX2.
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Type = float __attribute__((vector_size(kLanes * sizeof(float))));
};
template <>
struct VectorOf<double> {
  using Type = double __attribute__((vector_size(kLanes * sizeof(double))));
};
template <class T>
using Vector = typename VectorOf<T>::Type;

template <class T>
KANGPT_INLINE Vector<T> load(const T* source) {
  Vector<T> value;
  __builtin_memcpy(&value, source, sizeof value);
  return value;
}
template <class T>
KANGPT_INLINE void store(const Vector<T>& value, T* target) {
  __builtin_memcpy(target, &value, sizeof value);
}

// Lane i is lane kSource(i) of `first` and `second` behind each other. GCC has Clang's name for it from version 12 on.
template <auto kSource, int... kLane>
KANGPT_INLINE Vector<float> shuffle(const Vector<float>& first, const Vector<float>& second,
                                    std::integer_sequence<int, kLane...>) {
#if __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(first, second, kSource(kLane)...);
#else
  using Lanes = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
  return __builtin_shuffle(first, second, Lanes{kSource(kLane)...});
#endif
}
template <auto kSource>
KANGPT_INLINE Vector<float> shuffle(const Vector<float>& first, const Vector<float>& second) {
  return shuffle<kSource>(first, second, std::make_integer_sequence<int, kLanes>());
}

// exp(x) to 2 units in the last place for -87 <= x <= 88; beyond, the value at that limit. NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, Taylor's polynomial of degree 7 for exp(r), 2^n by its bits.
// V: float or a vector of floats; Bits: the unsigned integers of the same size.
template <class Bits, class V>
KANGPT_INLINE V exponential_of(V x) {
  constexpr float kRound = 0x1.8p23F;  // adding it leaves an integer in the low bits
  x = x < -87.0F ? x * 0 - 87.0F : x;
  x = x > 88.0F ? x * 0 + 88.0F : x;
  const V shifted = x * 0x1.715476p0F + kRound;
  const V n = shifted - kRound;
  const V r = (x - n * 0x1.62e4p-1F) - n * 0x1.7f7d1cp-20F;  // ln 2 in two parts
  V p = r * (1.0F / 5040) + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const Bits exponent = (__builtin_bit_cast(Bits, shifted) << 23) + 0x3F800000U;
  return p * __builtin_bit_cast(V, exponent);
}
KANGPT_INLINE float exponential(float x) {
  return exponential_of<std::uint32_t>(x);
}
KANGPT_INLINE double exponential(double x) {
  return std::exp(x);
}
KANGPT_INLINE Vector<float> exponential(Vector<float> x) {
  using Bits = std::uint32_t __attribute__((vector_size(kLanes * sizeof(float))));
  return exponential_of<Bits>(x);
}
KANGPT_INLINE Vector<double> exponential(Vector<double> x) {
  for (std::int64_t lane = 0; lane < kLanes; ++lane) x[lane] = std::exp(x[lane]);
  return x;
}

// tanh(x) to 1e-7 absolute.
KANGPT_INLINE float hyperbolic_tangent(float x) {
  const float e = exponential(-2 * __builtin_fabsf(x));
  return __builtin_copysignf((1 - e) / (1 + e), x);
}
KANGPT_INLINE double hyperbolic_tangent(double x) {
  return std::tanh(x);
}

}  // namespace kangpt::operations::cpu
