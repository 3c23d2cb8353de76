#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kMostTime = 128;  // with 32 features, the shared memory of a block is 33 kB

// A block takes a head of a sequence, a thread a query; keys and values are in shared memory.
template <int kHeadDim>
__global__ void __launch_bounds__(kMostTime) attend(Attention a) {
  __shared__ float keys[kMostTime * kHeadDim], values[kMostTime * kHeadDim];
  const std::int64_t sequence = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  const std::int64_t features = a.heads * kHeadDim;
  const int query = static_cast<int>(threadIdx.x), time = static_cast<int>(a.time);
  const std::int64_t row = sequence * a.time + query;
  const float scale = 1 / sqrtf(static_cast<float>(kHeadDim));
  float q[kHeadDim], context[kHeadDim];
  if (query < time) {
    const float* from = a.qkv + row * 3 * features + head * kHeadDim;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      q[i] = from[i] * scale;
      keys[query * kHeadDim + i] = from[features + i];
      values[query * kHeadDim + i] = from[2 * features + i];
      context[i] = 0;
    }
  }
  __syncthreads();
  if (query >= time) return;
  float maximum = -INFINITY, sum = 0;
  for (int key = 0; key <= query; ++key) {
    float score = 0;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) score += q[i] * keys[key * kHeadDim + i];
    const float greater = fmaxf(maximum, score), kept = expf(maximum - greater), weight = expf(score - greater);
    sum = sum * kept + weight;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) context[i] = context[i] * kept + weight * values[key * kHeadDim + i];
    maximum = greater;
  }
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) a.context[row * features + head * kHeadDim + i] = context[i] / sum;
  a.log_sums[static_cast<std::int64_t>(blockIdx.x) * a.time + query] = maximum + logf(sum);
}

// Of one time step, what backward needs in registers.
template <int kHeadDim>
struct Step {
  float q[kHeadDim], k[kHeadDim], v[kHeadDim], dcontext[kHeadDim];
  float log_sum = 0, mean = 0;  // mean: of the weights' gradients, by the weights

  __device__ __forceinline__ void load(const Attention& a, std::int64_t row, std::int64_t head) {
    const std::int64_t features = a.heads * kHeadDim;
    const float* qkv = a.qkv + row * 3 * features + head * kHeadDim;
    const float* context = a.context + row * features + head * kHeadDim;
    const float* gradient = a.dcontext + row * features + head * kHeadDim;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      q[i] = qkv[i] / sqrtf(static_cast<float>(kHeadDim));
      k[i] = qkv[features + i];
      v[i] = qkv[2 * features + i];
      dcontext[i] = gradient[i];
      mean += gradient[i] * context[i];
    }
  }
};

template <int kHeadDim>
__device__ __forceinline__ float dot(const float* a, const float* b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) sum += a[i] * b[i];
  return sum;
}

// The weights come again from the sums of forward. A thread owns a query, then a key, so that nothing is added by two.
template <int kHeadDim>
__global__ void __launch_bounds__(kMostTime) attend_backward(Attention a) {
  __shared__ float first[kMostTime * kHeadDim], second[kMostTime * kHeadDim], log_sums[kMostTime], means[kMostTime];
  const std::int64_t sequence = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  const std::int64_t features = a.heads * kHeadDim;
  const int own = static_cast<int>(threadIdx.x), time = static_cast<int>(a.time);
  const std::int64_t row = sequence * a.time + own;
  Step<kHeadDim> step;
  if (own < time) {
    step.load(a, row, head);
    log_sums[own] = a.log_sums[static_cast<std::int64_t>(blockIdx.x) * a.time + own];
    means[own] = step.mean;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      first[own * kHeadDim + i] = step.k[i];
      second[own * kHeadDim + i] = step.v[i];
    }
  }
  __syncthreads();
  float dq[kHeadDim] = {}, dk[kHeadDim] = {}, dv[kHeadDim] = {};
  if (own < time) {
    for (int key = 0; key <= own; ++key) {
      const float weight = expf(dot<kHeadDim>(step.q, first + key * kHeadDim) - log_sums[own]);
      const float dscore = weight * (dot<kHeadDim>(step.dcontext, second + key * kHeadDim) - step.mean);
#pragma unroll
      for (int i = 0; i < kHeadDim; ++i) dq[i] += dscore * first[key * kHeadDim + i];
    }
  }
  __syncthreads();
  if (own < time) {
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      first[own * kHeadDim + i] = step.q[i];
      second[own * kHeadDim + i] = step.dcontext[i];
    }
  }
  __syncthreads();
  if (own >= time) return;
  for (int query = own; query < time; ++query) {
    const float weight = expf(dot<kHeadDim>(step.k, first + query * kHeadDim) - log_sums[query]);
    const float dscore = weight * (dot<kHeadDim>(step.v, second + query * kHeadDim) - means[query]);
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      dk[i] += dscore * first[query * kHeadDim + i];
      dv[i] += weight * second[query * kHeadDim + i];
    }
  }
  float* to = a.dqkv + row * 3 * features + head * kHeadDim;
#pragma unroll
  for (int i = 0; i < kHeadDim; ++i) {
    to[i] = dq[i] / sqrtf(static_cast<float>(kHeadDim));
    to[features + i] = dk[i];
    to[2 * features + i] = dv[i];
  }
}

// Calls `function` with the number of features of a head, where there is a version for it.
template <class Function>
bool for_width(std::int64_t head_dim, Function function) {
  return for_size<2, 4, 8, 16, 32>(head_dim, function);
}

Grid grid_of(const Attention& a) {
  return {a.batch * a.heads, 1, static_cast<unsigned>(divided_up(a.time, kWarp)) * kWarp};
}

}  // namespace

bool has_attention(std::int64_t time, std::int64_t head_dim) {
  return time <= kMostTime && for_width(head_dim, [](auto) {});
}

void attention(const Attention& a, Stream stream) {
  const std::int64_t rows = a.batch * a.time, values = rows * a.heads * a.head_dim;
  const Work work = {"attention",
                     {reads(a.qkv, 3 * values), writes(a.context, values), writes(a.log_sums, rows * a.heads)}};
  for_width(a.head_dim, [&](auto width) { launch(work, grid_of(a), stream, &attend<decltype(width)::value>, a); });
}

void attention_backward(const Attention& a, Stream stream) {
  const std::int64_t rows = a.batch * a.time, values = rows * a.heads * a.head_dim;
  const Work work = {"attention_backward",
                     {reads(a.qkv, 3 * values), reads(a.context, values), reads(a.log_sums, rows * a.heads),
                      reads(a.dcontext, values), writes(a.dqkv, 3 * values)}};
  for_width(a.head_dim,
            [&](auto width) { launch(work, grid_of(a), stream, &attend_backward<decltype(width)::value>, a); });
}

}  // namespace kangpt::operations::cuda
