#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kSize = 4;                    // elements of a thread at once, where the layout allows
constexpr std::int64_t kRowsOfABlock = 64;  // backward: so many share partial sums of the coefficients' gradients
constexpr int kWarps = kThreads / kWarp;

// silu(z) = z s, silu' = s + z s (1 - s), s = sigmoid(z).
__device__ __forceinline__ float sigmoid(float z) {
  return 1 / (1 + expf(-z));
}

template <int kAtOnce>
__device__ __forceinline__ void gate_some(const Swiglu& a, std::int64_t first) {
  const auto gate = load<kAtOnce>(a.gate + first), up = load<kAtOnce>(a.up + first);
  Vector<float, kAtOnce> activation;
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) activation.v[i] = gate.v[i] / (1 + expf(-gate.v[i])) * up.v[i];
  store<kAtOnce>(a.activation + first, activation);
}

template <int kAtOnce>
__device__ __forceinline__ void gate_some_backward(const SwigluBackward& a, std::int64_t first) {
  const auto gate = load<kAtOnce>(a.gate + first), up = load<kAtOnce>(a.up + first);
  auto dup = load<kAtOnce>(a.dup + first);
  Vector<float, kAtOnce> dgate;
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    const float s = sigmoid(gate.v[i]), silu = gate.v[i] * s;
    dgate.v[i] = dup.v[i] * up.v[i] * (s + silu * (1 - s));
    dup.v[i] *= silu;
  }
  store<kAtOnce>(a.dgate + first, dgate);
  store<kAtOnce>(a.dup + first, dup);
}

// What is left over after the vectors is done one by one.
__global__ void __launch_bounds__(kThreads) gate(Swiglu a) {
  const std::int64_t first = global_thread() * kSize;
  if (first + kSize <= a.count) return gate_some<kSize>(a, first);
  for (std::int64_t i = first; i < a.count; ++i) gate_some<1>(a, i);
}
__global__ void __launch_bounds__(kThreads) gate_backward(SwigluBackward a) {
  const std::int64_t first = global_thread() * kSize;
  if (first + kSize <= a.count) return gate_some_backward<kSize>(a, first);
  for (std::int64_t i = first; i < a.count; ++i) gate_some_backward<1>(a, i);
}

// sum_d c_d T_d(tanh(u)) of one group, of up to kTerms terms; those behind are 0.
template <int kMost>
struct ChebyshevOfGroup {
  static constexpr int kTerms = kMost;
  float c[kTerms];

  __device__ __forceinline__ ChebyshevOfGroup(const GroupFunction& f, std::int64_t group) {
#pragma unroll
    for (int d = 0; d < kTerms; ++d) c[d] = d < f.first_terms ? f.first[group * f.first_terms + d] : 0.F;
  }
  // By Clenshaw's recurrence.
  __device__ __forceinline__ float value(float u) const {
    const float t = tanhf(u);
    float sum = 0, above = 0;
#pragma unroll
    for (int d = kTerms - 1; d > 0; --d) {
      const float next = 2 * t * sum - above + c[d];
      above = sum;
      sum = next;
    }
    return t * sum - above + c[0];
  }
  // du; adds dy T_d to sums[d]. du / dy = sum_d c_d d (T_{d-1} - t T_d), as in chebyshev.cu.
  __device__ __forceinline__ float backward(float u, float dy, float (&sums)[kTerms]) const {
    const float t = tanhf(u);
    float slope = 0, previous = 1, current = t;
    sums[0] += dy;
#pragma unroll
    for (int d = 1; d < kTerms; ++d) {
      sums[d] += dy * current;
      slope += c[d] * static_cast<float>(d) * (previous - t * current);
      const float next = 2 * t * current - previous;
      previous = current;
      current = next;
    }
    return dy * slope;
  }
};

// P / (1 + |A|), P = p_0 + p_1 x + ... + p_5 x^5, A = b_0 x + ... + b_3 x^4.
struct RationalOfGroup {
  static constexpr int kNumerators = 6, kDenominators = 4, kTerms = kNumerators + kDenominators;
  float p[kNumerators], b[kDenominators];

  __device__ __forceinline__ RationalOfGroup(const GroupFunction& f, std::int64_t group) {
#pragma unroll
    for (int i = 0; i < kNumerators; ++i) p[i] = f.first[group * kNumerators + i];
#pragma unroll
    for (int i = 0; i < kDenominators; ++i) b[i] = f.second[group * kDenominators + i];
  }
  __device__ __forceinline__ float numerator(float x) const {
    return ((((p[5] * x + p[4]) * x + p[3]) * x + p[2]) * x + p[1]) * x + p[0];
  }
  __device__ __forceinline__ float inner(float x) const {
    return (((b[3] * x + b[2]) * x + b[1]) * x + b[0]) * x;
  }
  __device__ __forceinline__ float value(float x) const {
    return numerator(x) / (1 + fabsf(inner(x)));
  }
  __device__ __forceinline__ float backward(float x, float dy, float (&sums)[kTerms]) const {
    const float numerator_slope = (((5 * p[5] * x + 4 * p[4]) * x + 3 * p[3]) * x + 2 * p[2]) * x + p[1];
    const float inner_slope = ((4 * b[3] * x + 3 * b[2]) * x + 2 * b[1]) * x + b[0];
    const float a = inner(x), inverse = 1 / (1 + fabsf(a)), dp = dy * inverse;
    const float outer = dp * numerator(x) * inverse, da = a < 0 ? outer : -outer;
    float power = 1;
#pragma unroll
    for (int i = 0; i < kNumerators; ++i) {
      sums[i] += dp * power;
      if (i >= 1 && i <= kDenominators) sums[kNumerators + i - 1] += da * power;
      power *= x;
    }
    return dp * numerator_slope + da * inner_slope;
  }
};

// A thread takes kAtOnce channels, which are of one group.
template <class OfGroup, int kAtOnce>
__global__ void __launch_bounds__(kThreads) apply(GroupFunction a) {
  const std::int64_t first = global_thread() * kAtOnce;
  if (first >= a.rows * a.channels) return;
  const OfGroup function(a, first % a.channels / (a.channels / a.groups));
  auto values = load<kAtOnce>(a.u + first);
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) values.v[i] = function.value(values.v[i]);
  store<kAtOnce>(a.y + first, values);
}

// A block takes a group's channels of kRowsOfABlock rows. Its sums go to the partials, [blocks, groups, terms] each.
template <class OfGroup, int kAtOnce>
__global__ void __launch_bounds__(kThreads) apply_backward(GroupFunction a) {
  constexpr int kTerms = OfGroup::kTerms;
  __shared__ float shared[kWarps][kTerms];
  const OfGroup function(a, blockIdx.y);
  const std::int64_t width = a.channels / a.groups, begin = blockIdx.x * kRowsOfABlock;
  const std::int64_t rows = begin + kRowsOfABlock < a.rows ? kRowsOfABlock : a.rows - begin;
  float sums[kTerms] = {};
  for (std::int64_t i = threadIdx.x * kAtOnce; i < rows * width; i += kThreads * kAtOnce) {
    const std::int64_t at = (begin + i / width) * a.channels + blockIdx.y * width + i % width;
    const auto u = load<kAtOnce>(a.u + at);
    auto gradient = load<kAtOnce>(a.dy + at);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) gradient.v[k] = function.backward(u.v[k], gradient.v[k], sums);
    store<kAtOnce>(a.y + at, gradient);
  }
#pragma unroll
  for (int term = 0; term < kTerms; ++term) {
    const float sum = warp_sum(sums[term]);
    if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp][term] = sum;
  }
  __syncthreads();
  const int term = static_cast<int>(threadIdx.x);
  if (term >= a.first_terms + a.second_terms) return;
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp][term];  // in their order
  const std::int64_t place = static_cast<std::int64_t>(blockIdx.x) * a.groups + blockIdx.y;
  if (term < a.first_terms) {
    a.first_partials[place * a.first_terms + term] = sum;
  } else {
    a.second_partials[place * a.second_terms + term - a.first_terms] = sum;
  }
}

bool is_wide(const GroupFunction& a) {
  bool wide = a.channels / a.groups % kSize == 0;
  for (const float* buffer : {a.u, a.dy, static_cast<const float*>(a.y)})
    wide = wide && reinterpret_cast<std::uintptr_t>(buffer) % sizeof(Vector<float, kSize>) == 0;
  return wide;
}

template <class OfGroup>
void launch_apply(const char* name, const GroupFunction& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  const Work work = {name,
                     {reads(a.u, elements), reads(a.first, a.groups * a.first_terms),
                      reads(a.second, a.groups * a.second_terms), writes(a.y, elements)}};
  if (is_wide(a)) {
    launch(work, {divided_up(elements / kSize, kThreads)}, stream, &apply<OfGroup, kSize>, a);
  } else {
    launch(work, {divided_up(elements, kThreads)}, stream, &apply<OfGroup, 1>, a);
  }
}

template <class OfGroup>
void launch_backward(const char* name, const GroupFunction& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels, blocks = group_function_blocks(a.rows);
  const std::int64_t first_terms = a.groups * a.first_terms, second_terms = a.groups * a.second_terms;
  const Work work = {
      name,
      {reads(a.u, elements), reads(a.dy, elements), reads(a.first, first_terms), reads(a.second, second_terms),
       writes(a.y, elements), writes(a.first_partials, blocks * first_terms),
       writes(a.second_partials, blocks * second_terms)}};
  if (is_wide(a)) {
    launch(work, {blocks, a.groups}, stream, &apply_backward<OfGroup, kSize>, a);
  } else {
    launch(work, {blocks, a.groups}, stream, &apply_backward<OfGroup, 1>, a);
  }
}

// Calls `function` with the least number of terms for which there is a version.
template <class Function>
bool for_terms(std::int64_t terms, Function function) {
  return for_size<5, 9, 17>(terms <= 5 ? 5 : terms <= 9 ? 9 : terms <= 17 ? 17 : 0, function);
}

}  // namespace

void swiglu(const Swiglu& a, Stream stream) {
  launch({"swiglu", {reads(a.gate, a.count), reads(a.up, a.count), writes(a.activation, a.count)}},
         {divided_up(divided_up(a.count, kSize), kThreads)}, stream, &gate, a);
}

void swiglu_backward(const SwigluBackward& a, Stream stream) {
  launch({"swiglu_backward",
          {reads(a.gate, a.count), reads(a.up, a.count), writes(a.dgate, a.count), updates(a.dup, a.count)}},
         {divided_up(divided_up(a.count, kSize), kThreads)}, stream, &gate_backward, a);
}

std::int64_t group_function_blocks(std::int64_t rows) {
  return divided_up(rows, kRowsOfABlock);
}

bool has_chebyshev_function(std::int64_t terms) {
  return for_terms(terms, [](auto) {});
}

void chebyshev_function(const GroupFunction& a, Stream stream) {
  for_terms(a.first_terms,
            [&](auto most) { launch_apply<ChebyshevOfGroup<decltype(most)::value>>("chebyshev_function", a, stream); });
}

void chebyshev_function_backward(const GroupFunction& a, Stream stream) {
  for_terms(a.first_terms, [&](auto most) {
    launch_backward<ChebyshevOfGroup<decltype(most)::value>>("chebyshev_function_backward", a, stream);
  });
}

void rational_function(const GroupFunction& a, Stream stream) {
  launch_apply<RationalOfGroup>("rational_function", a, stream);
}

void rational_function_backward(const GroupFunction& a, Stream stream) {
  launch_backward<RationalOfGroup>("rational_function_backward", a, stream);
}

}  // namespace kangpt::operations::cuda
