// Vectorised loops of the convolutional mixers on the CPU. Raw pointers, one thread, one sequence, no allocation.
#pragma once

#include <cstdint>

namespace kangpt::operations::cpu {

// Versions, dtypes and layout as in kernels.hpp. Weights are tap-major, [taps, channels].

template <class T>
struct Depthwise {  // y[t] = bias + sum_k weight[k] u[t - k * dilation]
  const T* u;       // [time, channels]
  const T* weight;
  const T* bias;  // [channels]
  T* y;           // [time, channels]
  std::int64_t time;
  std::int64_t channels;
  std::int64_t taps;
  std::int64_t dilation;
};
void depthwise(const Depthwise<float>& a);
void depthwise(const Depthwise<double>& a);

template <class T>
struct DepthwiseBackward {
  const T* u;
  const T* dy;  // [time, channels]
  const T* weight;
  T* du;       // [time, channels], written
  T* dweight;  // [taps, channels], written
  T* dbias;    // [channels], written
  std::int64_t time;
  std::int64_t channels;
  std::int64_t taps;
  std::int64_t dilation;
};
void depthwise_backward(const DepthwiseBackward<float>& a);
void depthwise_backward(const DepthwiseBackward<double>& a);

// Formula, offsets and slopes: Convolutions::deformable.
template <class T>
struct Deformable {
  const T* u;       // [time, channels]
  const T* weight;  // [taps, channels]
  const T* bias;    // [channels]
  T* offsets;       // [time, 2 * groups * taps]
  T* y;             // [time, channels]
  std::int64_t time;
  std::int64_t channels;
  std::int64_t groups;
  std::int64_t taps;
  std::int64_t dilation;
  T max_offset;
};
void deformable(const Deformable<float>& a);
void deformable(const Deformable<double>& a);

template <class T>
struct DeformableBackward {
  const T* u;
  const T* weight;
  const T* offsets;
  const T* dy;
  T* doffsets;  // [time, 2 * groups * taps], written
  T* du;        // [time, channels], written
  T* dweight;   // [taps, channels], written
  T* dbias;     // [channels], written
  std::int64_t time;
  std::int64_t channels;
  std::int64_t groups;
  std::int64_t taps;
  std::int64_t dilation;
  T max_offset;
};
void deformable_backward(const DeformableBackward<float>& a);
void deformable_backward(const DeformableBackward<double>& a);

}  // namespace kangpt::operations::cpu
