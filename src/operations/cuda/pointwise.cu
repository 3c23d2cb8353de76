#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kSize = 4;  // elements of a thread

// The tanh of GELU's form, sqrt(2 / pi) (z + 0.044715 z^3) within.
__device__ __forceinline__ float inner_tanh(float z) {
  return tanhf(0.7978845608028654F * (z + 0.044715F * z * z * z));
}

struct GeluOf {
  __device__ __forceinline__ float operator()(float z, float /*before*/) const {
    return 0.5F * z * (1 + inner_tanh(z));
  }
};

struct GeluGradientOf {
  __device__ __forceinline__ float operator()(float z, float gradient) const {
    const float t = inner_tanh(z);
    const float slope = 0.7978845608028654F * (1 + 3 * 0.044715F * z * z);
    return gradient * (0.5F * (1 + t) + 0.5F * z * (1 - t * t) * slope);
  }
};

// values = function(z, values); whatever is left over after the vectors is done one by one.
template <class Function>
__global__ void __launch_bounds__(kThreads) map(Gelu a, Function function) {
  const std::int64_t first = global_thread() * kSize;
  if (first + kSize <= a.count) {
    const auto z = load<kSize>(a.z + first);
    auto values = load<kSize>(a.values + first);
#pragma unroll
    for (int i = 0; i < kSize; ++i) values.v[i] = function(z.v[i], values.v[i]);
    store<kSize>(a.values + first, values);
  } else {
    for (std::int64_t i = first; i < a.count; ++i) a.values[i] = function(a.z[i], a.values[i]);
  }
}

__global__ void __launch_bounds__(kThreads) round_all(Rounding a) {
  const std::int64_t first = global_thread() * kSize;
  auto* to = static_cast<Bfloat16*>(a.to) + first;
  if (first + kSize <= a.count) {
    const auto values = load<kSize>(a.from + first);
    Vector<Bfloat16, kSize> results;
#pragma unroll
    for (int i = 0; i < kSize; ++i) results.v[i] = rounded<Bfloat16>(values.v[i]);
    store<kSize>(to, results);
  } else {
    for (std::int64_t i = first; i < a.count; ++i) to[i - first] = rounded<Bfloat16>(a.from[i]);
  }
}

std::int64_t blocks_for(std::int64_t elements) {
  return divided_up(divided_up(elements, kSize), kThreads);
}

}  // namespace

void gelu(const Gelu& a, Stream stream) {
  launch({"gelu", {reads(a.z, a.count), writes(a.values, a.count)}}, {blocks_for(a.count)}, stream, &map<GeluOf>, a,
         GeluOf{});
}

void gelu_backward(const Gelu& a, Stream stream) {
  launch({"gelu_backward", {reads(a.z, a.count), updates(a.values, a.count)}}, {blocks_for(a.count)}, stream,
         &map<GeluGradientOf>, a, GeluGradientOf{});
}

void round_to_bfloat16(const Rounding& a, Stream stream) {
  launch({"round_to_bfloat16", {reads(a.from, a.count), writes(static_cast<const Bfloat16*>(a.to), a.count)}},
         {blocks_for(a.count)}, stream, &round_all, a);
}

}  // namespace kangpt::operations::cuda
