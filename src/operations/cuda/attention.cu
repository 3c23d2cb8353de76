#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kMostTime = 128;  // with 32 features, the shared memory of a block is 33 kB

// In place; nobody else has this head of this row.
template <int kHeadDim>
__device__ __forceinline__ void add_biases(const Attention& a, std::int64_t first, float* qkv) {
#pragma unroll
  for (int part = 0; part < 3; ++part) {
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) qkv[part * a.heads * kHeadDim + i] += a.biases[part][first + i];
  }
}

// A block takes a head of a sequence, a thread a query; keys and values are in shared memory.
template <int kHeadDim, class T>
__global__ void __launch_bounds__(kMostTime) attend(Attention a) {
  __shared__ float keys[kMostTime * kHeadDim], values[kMostTime * kHeadDim];
  const std::int64_t sequence = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  const std::int64_t features = a.heads * kHeadDim;
  const int query = static_cast<int>(threadIdx.x), time = static_cast<int>(a.time);
  const std::int64_t row = sequence * a.time + query;
  const float scale = 1 / sqrtf(static_cast<float>(kHeadDim));
  float q[kHeadDim], context[kHeadDim];
  if (query < time) {
    float* from = a.qkv + row * 3 * features + head * kHeadDim;
    if (a.biases[0] != nullptr) add_biases<kHeadDim>(a, head * kHeadDim, from);
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
  for (int i = 0; i < kHeadDim; ++i)
    static_cast<T*>(a.context)[row * features + head * kHeadDim + i] = rounded<T>(context[i] / sum);
  a.log_sums[static_cast<std::int64_t>(blockIdx.x) * a.time + query] = maximum + logf(sum);
}

// Of one time step, what backward needs in registers.
template <int kHeadDim>
struct Step {
  float q[kHeadDim], k[kHeadDim], v[kHeadDim], dcontext[kHeadDim];
  float log_sum = 0, mean = 0;  // mean: of the weights' gradients, by the weights

  template <class T>
  __device__ __forceinline__ void load(const Attention& a, std::int64_t row, std::int64_t head) {
    const std::int64_t features = a.heads * kHeadDim;
    const float* qkv = a.qkv + row * 3 * features + head * kHeadDim;
    const T* context = static_cast<const T*>(a.context) + row * features + head * kHeadDim;
    const float* gradient = a.dcontext + row * features + head * kHeadDim;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      q[i] = qkv[i] / sqrtf(static_cast<float>(kHeadDim));
      k[i] = qkv[features + i];
      v[i] = qkv[2 * features + i];
      dcontext[i] = gradient[i];
      mean += gradient[i] * widened(context[i]);
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

// partials[sequence, part of dqkv, feature of the head] = the sum over the time steps; all threads come here.
template <int kHeadDim>
__device__ __forceinline__ void write_sums(const Attention& a, const float* values, int part, float* shared) {
  const int own = static_cast<int>(threadIdx.x), time = static_cast<int>(a.time);
  __syncthreads();
  if (own < time) {
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) shared[own * kHeadDim + i] = values[i];
  }
  __syncthreads();
  if (own >= kHeadDim) return;
  float sum = 0;
  for (int step = 0; step < time; ++step) sum += shared[step * kHeadDim + own];
  const std::int64_t sequence = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  a.partials[(sequence * 3 + part) * a.heads * kHeadDim + head * kHeadDim + own] = sum;
}

// The weights come again from the sums of forward. A thread owns a query, then a key, so that nothing is added by two.
template <int kHeadDim, class T>
__global__ void __launch_bounds__(kMostTime) attend_backward(Attention a) {
  __shared__ float first[kMostTime * kHeadDim], second[kMostTime * kHeadDim], log_sums[kMostTime], means[kMostTime];
  const std::int64_t sequence = blockIdx.x / a.heads, head = blockIdx.x % a.heads;
  const std::int64_t features = a.heads * kHeadDim;
  const int own = static_cast<int>(threadIdx.x), time = static_cast<int>(a.time);
  const std::int64_t row = sequence * a.time + own;
  Step<kHeadDim> step;
  if (own < time) {
    step.template load<T>(a, row, head);
    log_sums[own] = a.log_sums[static_cast<std::int64_t>(blockIdx.x) * a.time + own];
    means[own] = step.mean;
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      first[own * kHeadDim + i] = step.k[i];
      second[own * kHeadDim + i] = step.v[i];
    }
  }
  __syncthreads();
  T* to = static_cast<T*>(a.dqkv) + row * 3 * features + head * kHeadDim;
  float dq[kHeadDim] = {};
  if (own < time) {
    for (int key = 0; key <= own; ++key) {
      const float weight = expf(dot<kHeadDim>(step.q, first + key * kHeadDim) - log_sums[own]);
      const float dscore = weight * (dot<kHeadDim>(step.dcontext, second + key * kHeadDim) - step.mean);
#pragma unroll
      for (int i = 0; i < kHeadDim; ++i) dq[i] += dscore * first[key * kHeadDim + i];
    }
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      dq[i] /= sqrtf(static_cast<float>(kHeadDim));
      to[i] = rounded<T>(dq[i]);
    }
  }
  if (a.partials != nullptr) write_sums<kHeadDim>(a, dq, 0, first);
  __syncthreads();
  if (own < time) {
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      first[own * kHeadDim + i] = step.q[i];
      second[own * kHeadDim + i] = step.dcontext[i];
    }
  }
  __syncthreads();
  float dk[kHeadDim] = {}, dv[kHeadDim] = {};
  if (own < time) {
    for (int query = own; query < time; ++query) {
      const float weight = expf(dot<kHeadDim>(step.k, first + query * kHeadDim) - log_sums[query]);
      const float dscore = weight * (dot<kHeadDim>(step.v, second + query * kHeadDim) - means[query]);
#pragma unroll
      for (int i = 0; i < kHeadDim; ++i) {
        dk[i] += dscore * first[query * kHeadDim + i];
        dv[i] += weight * second[query * kHeadDim + i];
      }
    }
#pragma unroll
    for (int i = 0; i < kHeadDim; ++i) {
      to[features + i] = rounded<T>(dk[i]);
      to[2 * features + i] = rounded<T>(dv[i]);
    }
  }
  if (a.partials == nullptr) return;
  write_sums<kHeadDim>(a, dk, 1, first);
  write_sums<kHeadDim>(a, dv, 2, first);
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
  Work work = {
      "attention",
      {reads(a.qkv, 3 * values), operand_written(a.context, values, a.type), writes(a.log_sums, rows * a.heads)}};
  if (a.biases[0] != nullptr) {
    work.memory[0] = updates(a.qkv, 3 * values);
    for (int part = 0; part < 3; ++part) work.memory[3 + part] = reads(a.biases[part], a.heads * a.head_dim);
  }
  for_width(a.head_dim, [&](auto width) {
    constexpr int kHeadDim = decltype(width)::value;
    a.type == OperandType::kFp32 ? launch(work, grid_of(a), stream, &attend<kHeadDim, float>, a)
                                 : launch(work, grid_of(a), stream, &attend<kHeadDim, Bfloat16>, a);
  });
}

void attention_backward(const Attention& a, Stream stream) {
  const std::int64_t rows = a.batch * a.time, values = rows * a.heads * a.head_dim;
  Work work = {"attention_backward",
               {reads(a.qkv, 3 * values), operand_read(a.context, values, a.type), reads(a.log_sums, rows * a.heads),
                reads(a.dcontext, values), operand_written(a.dqkv, 3 * values, a.type)}};
  if (a.partials != nullptr) work.memory[5] = writes(a.partials, a.batch * 3 * a.heads * a.head_dim);
  for_width(a.head_dim, [&](auto width) {
    constexpr int kHeadDim = decltype(width)::value;
    a.type == OperandType::kFp32 ? launch(work, grid_of(a), stream, &attend_backward<kHeadDim, float>, a)
                                 : launch(work, grid_of(a), stream, &attend_backward<kHeadDim, Bfloat16>, a);
  });
}

}  // namespace kangpt::operations::cuda
