#include "operations/cpu/convolution_kernels.hpp"

#include "operations/cpu/vector_math.hpp"

namespace kangpt::operations::cpu {
namespace {

template <class T>
KANGPT_INLINE void fill(T* values, T value, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = value;
}

template <class T>
KANGPT_INLINE void add(const T* values, T* sums, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) sums[i] += values[i];
}

template <class T>
KANGPT_INLINE void depthwise_body(const Depthwise<T>& a) {
  for (std::int64_t t = 0; t < a.time; ++t) {
    T* y = a.y + t * a.channels;
    for (std::int64_t c = 0; c < a.channels; ++c) y[c] = a.bias[c];
    for (std::int64_t k = 0; k < a.taps && k * a.dilation <= t; ++k) {
      const T* u = a.u + (t - k * a.dilation) * a.channels;
      const T* weight = a.weight + k * a.channels;
#pragma omp simd
      for (std::int64_t c = 0; c < a.channels; ++c) y[c] += weight[c] * u[c];
    }
  }
}

template <class T>
KANGPT_INLINE void depthwise_backward_body(const DepthwiseBackward<T>& a) {
  fill(a.du, T{0}, a.time * a.channels);
  fill(a.dweight, T{0}, a.taps * a.channels);
  fill(a.dbias, T{0}, a.channels);
  for (std::int64_t t = 0; t < a.time; ++t) {
    const T* dy = a.dy + t * a.channels;
    add(dy, a.dbias, a.channels);
    for (std::int64_t k = 0; k < a.taps && k * a.dilation <= t; ++k) {
      const std::int64_t source = (t - k * a.dilation) * a.channels;
      const T* u = a.u + source;
      const T* weight = a.weight + k * a.channels;
      T* du = a.du + source;
      T* dweight = a.dweight + k * a.channels;
#pragma omp simd
      for (std::int64_t c = 0; c < a.channels; ++c) {
        du[c] += weight[c] * dy[c];
        dweight[c] += u[c] * dy[c];
      }
    }
  }
}

// Between which rows of u a tap lies, and how near to each. A row before the sequence has weight 0 and stands as row 0.
template <class T>
struct Position {
  std::int64_t earlier;
  std::int64_t later;
  T earlier_weight;
  T later_weight;
  T earlier_slope;  // 0 where the earlier row is before the sequence, else 1
  bool is_inside;   // whether the clamp lets the gradient pass
  bool is_empty;    // whether both rows are before the sequence
};

// No value of `squashed`, not even NaN, leads outside the sequence; NaN makes both weights NaN.
template <class T>
KANGPT_INLINE Position<T> position_of(std::int64_t t, std::int64_t regular, T squashed, T max_offset) {
  const T wanted = static_cast<T>(regular) + max_offset * squashed;
  T delta = wanted < 0 ? T{0} : wanted;
  delta = delta > max_offset ? max_offset : delta;
  const T whole = delta > 1 ? std::ceil(delta) : T{1};
  const std::int64_t earlier = t - static_cast<std::int64_t>(whole);
  const T later_weight = whole - delta;
  const bool exists = earlier >= 0;
  const bool is_empty = earlier < -1;
  return {exists ? earlier : 0,
          is_empty ? 0 : earlier + 1,
          exists ? 1 - later_weight : T{0},
          later_weight,
          exists ? T{1} : T{0},
          wanted >= 0 && wanted <= max_offset,
          is_empty};
}

// In place: o -> tanh(o), z -> 2 sigmoid(z) = 1 + tanh(z / 2).
template <class T>
KANGPT_INLINE void squash(T* offsets, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) offsets[i] = hyperbolic_tangent(offsets[i]);
#pragma omp simd
  for (std::int64_t i = count; i < 2 * count; ++i) offsets[i] = 1 + hyperbolic_tangent(T{0.5} * offsets[i]);
}

template <class T>
KANGPT_INLINE void deformable_body(const Deformable<T>& a) {
  const std::int64_t width = a.channels / a.groups;
  const std::int64_t count = a.groups * a.taps;
  for (std::int64_t t = 0; t < a.time; ++t) {
    T* offsets = a.offsets + t * 2 * count;
    squash(offsets, count);
    T* row = a.y + t * a.channels;
    for (std::int64_t c = 0; c < a.channels; ++c) row[c] = a.bias[c];
    for (std::int64_t index = 0; index < count; ++index) {
      const std::int64_t k = index % a.taps;
      const std::int64_t first = index / a.taps * width;
      const Position<T> at = position_of(t, k * a.dilation, offsets[index], a.max_offset);
      if (at.is_empty) continue;
      const T earlier_weight = offsets[count + index] * at.earlier_weight;
      const T later_weight = offsets[count + index] * at.later_weight;
      const T* earlier = a.u + at.earlier * a.channels + first;
      const T* later = a.u + at.later * a.channels + first;
      const T* weight = a.weight + k * a.channels + first;
      T* y = row + first;
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) {
        y[c] += weight[c] * (earlier_weight * earlier[c] + later_weight * later[c]);
      }
    }
  }
}

// Gradients with respect to m and to a / m of one tap, and what one tap adds to du and dweight.
template <class T>
struct TapGradient {
  T modulation;
  T fraction;
};

template <class T>
KANGPT_INLINE TapGradient<T> tap_backward(const DeformableBackward<T>& a, const Position<T>& at, T modulation,
                                          std::int64_t dy_offset, std::int64_t weight_offset) {
  const std::int64_t width = a.channels / a.groups;
  const std::int64_t first = dy_offset % a.channels;
  const T* dy = a.dy + dy_offset;
  const T* weight = a.weight + weight_offset;
  const T* earlier = a.u + at.earlier * a.channels + first;
  const T* later = a.u + at.later * a.channels + first;
  T* dweight = a.dweight + weight_offset;
  T value_sum = 0;
  T slope_sum = 0;
#pragma omp simd reduction(+ : value_sum, slope_sum)
  for (std::int64_t c = 0; c < width; ++c) {
    const T value = at.earlier_weight * earlier[c] + at.later_weight * later[c];
    const T slope = later[c] - at.earlier_slope * earlier[c];
    value_sum += weight[c] * dy[c] * value;
    slope_sum += weight[c] * dy[c] * slope;
    dweight[c] += modulation * dy[c] * value;
  }
  T* dlater = a.du + at.later * a.channels + first;
  T* dearlier = a.du + at.earlier * a.channels + first;
  const T later_weight = modulation * at.later_weight;
  const T earlier_weight = modulation * at.earlier_weight;
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) dlater[c] += later_weight * weight[c] * dy[c];
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) dearlier[c] += earlier_weight * weight[c] * dy[c];
  return {value_sum, slope_sum};
}

template <class T>
KANGPT_INLINE void deformable_backward_body(const DeformableBackward<T>& a) {
  const std::int64_t width = a.channels / a.groups;
  const std::int64_t count = a.groups * a.taps;
  fill(a.du, T{0}, a.time * a.channels);
  fill(a.dweight, T{0}, a.taps * a.channels);
  fill(a.dbias, T{0}, a.channels);
  for (std::int64_t t = 0; t < a.time; ++t) {
    const T* offsets = a.offsets + t * 2 * count;
    T* doffsets = a.doffsets + t * 2 * count;
    add(a.dy + t * a.channels, a.dbias, a.channels);
    for (std::int64_t index = 0; index < count; ++index) {
      const std::int64_t k = index % a.taps;
      const std::int64_t first = index / a.taps * width;
      const T squashed = offsets[index];
      const T modulation = offsets[count + index];
      const Position<T> at = position_of(t, k * a.dilation, squashed, a.max_offset);
      TapGradient<T> gradient = {0, 0};
      if (!at.is_empty) gradient = tap_backward(a, at, modulation, t * a.channels + first, k * a.channels + first);
      const T slope = at.is_inside ? a.max_offset * (1 - squashed * squashed) : T{0};
      doffsets[index] = -modulation * gradient.fraction * slope;
      doffsets[count + index] = gradient.modulation * T{0.5} * modulation * (2 - modulation);
    }
  }
}

}  // namespace

KANGPT_KERNEL(depthwise, Depthwise)
KANGPT_KERNEL(depthwise_backward, DepthwiseBackward)
KANGPT_KERNEL(deformable, Deformable)
KANGPT_KERNEL(deformable_backward, DeformableBackward)

}  // namespace kangpt::operations::cpu
