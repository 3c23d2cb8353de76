#include "operations/cpu/activation_kernels.hpp"

#include "operations/cpu/vector_math.hpp"

namespace kangpt::operations::cpu {
namespace {

// Numbers side by side, in loops over all of them that the compiler cuts into the processor's vectors.
template <class T>
using Lanes = T[kLanes];

// Channels that lie side by side in a row and belong to one group; `count` is kLanes but at a group's end.
struct Chunk {
  std::int64_t first;
  std::int64_t count;
};

template <class T>
KANGPT_INLINE T sum_of(const Lanes<T>& values) {
  T sum = 0;
  for (const T value : values) sum += value;
  return sum;
}

// Calls body(Chunk) for each kLanes channels of a group and what is left, row by row.
template <class T, class Body>
KANGPT_INLINE void for_each_chunk(const FunctionShape<T>& a, std::int64_t group, const Body& body) {
  const std::int64_t width = a.channels / a.groups;
  const std::int64_t whole = width / kLanes * kLanes;
  for (std::int64_t row = 0; row < a.rows; ++row) {
    const std::int64_t begin = row * a.channels + group * width;
    for (std::int64_t c = 0; c < whole; c += kLanes) body(Chunk{begin + c, kLanes});
    if (whole < width) body(Chunk{begin + whole, width - whole});
  }
}

template <class T>
KANGPT_INLINE void tanh_of(const T* u, Lanes<T>& t, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) t[i] = hyperbolic_tangent(u[i]);
}

// By Clenshaw's recurrence.
template <class T>
KANGPT_INLINE void chebyshev_chunk(const ChebyshevFunction<T>& a, const T* c, Chunk chunk) {
  const std::int64_t first = chunk.first;
  const std::int64_t count = chunk.count;
  Lanes<T> t;
  Lanes<T> sum = {};
  Lanes<T> above = {};
  tanh_of(a.at.u + first, t, count);
  for (std::int64_t d = a.terms - 1; d > 0; --d) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      const T next = 2 * t[i] * sum[i] - above[i] + c[d];
      above[i] = sum[i];
      sum[i] = next;
    }
  }
  T* y = a.y + first;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) y[i] = t[i] * sum[i] - above[i] + c[0];
}

template <class T>
KANGPT_INLINE void chebyshev_function_body(const ChebyshevFunction<T>& a) {
  for (std::int64_t group = 0; group < a.at.groups; ++group) {
    for_each_chunk(
        a.at, group, [&](Chunk chunk) __attribute__((always_inline)) {
          chebyshev_chunk(a, a.coefficients + group * a.terms, chunk);
        });
  }
}

// du / dy = sum_d c_d d (T_{d-1} - t T_d), as in chebyshev_backward. Adds dy T_d to sums[d].
template <class T>
KANGPT_INLINE void chebyshev_backward_chunk(const ChebyshevFunctionBackward<T>& a, const T* c, Lanes<T>* sums,
                                            Chunk chunk) {
  const std::int64_t first = chunk.first;
  const std::int64_t count = chunk.count;
  Lanes<T> t;
  Lanes<T> dy;
  Lanes<T> slope = {};
  Lanes<T> previous;
  Lanes<T> current;
  tanh_of(a.at.u + first, t, count);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    dy[i] = a.dy[first + i];
    sums[0][i] += dy[i];
    previous[i] = 1;
    current[i] = t[i];
  }
  for (std::int64_t d = 1; d < a.terms; ++d) {
    const T factor = c[d] * static_cast<T>(d);
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      sums[d][i] += dy[i] * current[i];
      slope[i] += factor * (previous[i] - t[i] * current[i]);
      const T next = 2 * t[i] * current[i] - previous[i];
      previous[i] = current[i];
      current[i] = next;
    }
  }
  T* du = a.du + first;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) du[i] = dy[i] * slope[i];
}

template <class T>
KANGPT_INLINE void chebyshev_function_backward_body(const ChebyshevFunctionBackward<T>& a) {
  for (std::int64_t group = 0; group < a.at.groups; ++group) {
    Lanes<T> sums[kMostFunctionTerms] = {};
    for_each_chunk(
        a.at, group, [&](Chunk chunk) __attribute__((always_inline)) {
          chebyshev_backward_chunk(a, a.coefficients + group * a.terms, sums, chunk);
        });
    for (std::int64_t d = 0; d < a.terms; ++d) a.dcoefficients[group * a.terms + d] = sum_of<T>(sums[d]);
  }
}

// P = p_0 + p_1 x + ... + p_5 x^5, A = b_0 x + ... + b_3 x^4, and their slopes.
template <class T>
KANGPT_INLINE T numerator(const T* p, T x) {
  return ((((p[5] * x + p[4]) * x + p[3]) * x + p[2]) * x + p[1]) * x + p[0];
}
template <class T>
KANGPT_INLINE T numerator_slope(const T* p, T x) {
  return (((5 * p[5] * x + 4 * p[4]) * x + 3 * p[3]) * x + 2 * p[2]) * x + p[1];
}
template <class T>
KANGPT_INLINE T denominator(const T* b, T x) {
  return (((b[3] * x + b[2]) * x + b[1]) * x + b[0]) * x;
}
template <class T>
KANGPT_INLINE T denominator_slope(const T* b, T x) {
  return ((4 * b[3] * x + 3 * b[2]) * x + 2 * b[1]) * x + b[0];
}

// One group's coefficients, where no store can change them.
template <class T>
struct RationalOfGroup {
  T p[kNumeratorTerms];
  T b[kDenominatorTerms];

  KANGPT_INLINE RationalOfGroup(const T* numerators, const T* denominators, std::int64_t group) {
    for (std::int64_t i = 0; i < kNumeratorTerms; ++i) p[i] = numerators[group * kNumeratorTerms + i];
    for (std::int64_t i = 0; i < kDenominatorTerms; ++i) b[i] = denominators[group * kDenominatorTerms + i];
  }
};

template <class T>
KANGPT_INLINE void rational_function_body(const RationalFunction<T>& a) {
  for (std::int64_t group = 0; group < a.at.groups; ++group) {
    const RationalOfGroup<T> f(a.numerator, a.denominator, group);
    for_each_chunk(
        a.at, group, [&](Chunk chunk) __attribute__((always_inline)) {
          const std::int64_t first = chunk.first;
          const std::int64_t count = chunk.count;
          const T* u = a.at.u + first;
          T* y = a.y + first;
#pragma omp simd
          for (std::int64_t i = 0; i < count; ++i) {
            const T inner = denominator(f.b, u[i]);
            y[i] = numerator(f.p, u[i]) / (1 + (inner < 0 ? -inner : inner));
          }
        });
  }
}

// What a chunk adds to the gradients of the coefficients.
template <class T>
struct RationalSums {
  Lanes<T> p[kNumeratorTerms] = {};
  Lanes<T> b[kDenominatorTerms] = {};
};

template <class T>
KANGPT_INLINE void rational_backward_chunk(const RationalFunctionBackward<T>& a, const RationalOfGroup<T>& f,
                                           RationalSums<T>& sums, Chunk chunk) {
  const std::int64_t first = chunk.first;
  const std::int64_t count = chunk.count;
  const T* u = a.at.u + first;
  const T* dy = a.dy + first;
  T* du = a.du + first;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const T x = u[i];
    const T inner = denominator(f.b, x);
    const T inverse = 1 / (1 + (inner < 0 ? -inner : inner));
    const T dp = dy[i] * inverse;
    const T outer = dp * numerator(f.p, x) * inverse;
    const T dinner = inner < 0 ? outer : -outer;
    const T squared = x * x;
    const T cubed = squared * x;
    const T fourth = squared * squared;
    sums.p[0][i] += dp;
    sums.p[1][i] += dp * x;
    sums.p[2][i] += dp * squared;
    sums.p[3][i] += dp * cubed;
    sums.p[4][i] += dp * fourth;
    sums.p[5][i] += dp * fourth * x;
    sums.b[0][i] += dinner * x;
    sums.b[1][i] += dinner * squared;
    sums.b[2][i] += dinner * cubed;
    sums.b[3][i] += dinner * fourth;
    du[i] = dp * numerator_slope(f.p, x) + dinner * denominator_slope(f.b, x);
  }
}

template <class T>
KANGPT_INLINE void rational_function_backward_body(const RationalFunctionBackward<T>& a) {
  for (std::int64_t group = 0; group < a.at.groups; ++group) {
    const RationalOfGroup<T> f(a.numerator, a.denominator, group);
    RationalSums<T> sums;
    for_each_chunk(
        a.at, group, [&](Chunk chunk) __attribute__((always_inline)) { rational_backward_chunk(a, f, sums, chunk); });
    T* dnumerator = a.dnumerator + group * kNumeratorTerms;
    T* ddenominator = a.ddenominator + group * kDenominatorTerms;
    for (std::int64_t i = 0; i < kNumeratorTerms; ++i) dnumerator[i] = sum_of<T>(sums.p[i]);
    for (std::int64_t i = 0; i < kDenominatorTerms; ++i) ddenominator[i] = sum_of<T>(sums.b[i]);
  }
}

template <class T>
KANGPT_INLINE void swiglu_body(const Swiglu<T>& a) {
#pragma omp simd
  for (std::int64_t i = 0; i < a.count; ++i) a.activation[i] = a.gate[i] / (1 + exponential(-a.gate[i])) * a.up[i];
}

// silu' = s + z s (1 - s), s = sigmoid(z).
template <class T>
KANGPT_INLINE void swiglu_backward_body(const SwigluBackward<T>& a) {
#pragma omp simd
  for (std::int64_t i = 0; i < a.count; ++i) {
    const T sigmoid = 1 / (1 + exponential(-a.gate[i]));
    const T silu = a.gate[i] * sigmoid;
    const T dactivation = a.dup[i];
    a.dgate[i] = dactivation * a.up[i] * (sigmoid + silu * (1 - sigmoid));
    a.dup[i] = dactivation * silu;
  }
}

}  // namespace

KANGPT_KERNEL(chebyshev_function, ChebyshevFunction)
KANGPT_KERNEL(chebyshev_function_backward, ChebyshevFunctionBackward)
KANGPT_KERNEL(rational_function, RationalFunction)
KANGPT_KERNEL(rational_function_backward, RationalFunctionBackward)
KANGPT_KERNEL(swiglu, Swiglu)
KANGPT_KERNEL(swiglu_backward, SwigluBackward)

}  // namespace kangpt::operations::cpu
