#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr unsigned kBlock = 512;  // threads for a row

template <class T>
constexpr int kSize = 16 / sizeof(T);  // logits of a thread at once
static_assert(kClassifierPitch % kSize<Bfloat16> == 0 && kClassifierPitch % kSize<float> == 0);

// The greatest logit of some, and the sum of exp(logit - greatest).
struct Softmax {
  float maximum = -INFINITY;
  float sum = 0;
};

template <class T>
__device__ __forceinline__ Softmax softmax_of_thread(const T* logits, std::int64_t vocabulary) {
  constexpr int kAtOnce = kSize<T>;
  Softmax all;
  for (std::int64_t i = threadIdx.x * kAtOnce; i < vocabulary; i += kBlock * kAtOnce) {
    const auto some = load<kAtOnce>(logits + i);
    float values[kAtOnce];
    float maximum = all.maximum;
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      values[k] = i + k < vocabulary ? widened(some.v[k]) : -INFINITY;
      maximum = fmaxf(maximum, values[k]);
    }
    const float subtracted = maximum == -INFINITY ? 0 : maximum;  // what is no number stays none
    all.sum *= expf(all.maximum - subtracted);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) all.sum += expf(values[k] - subtracted);
    all.maximum = maximum;
  }
  return all;
}

// Each thread replaces what it read itself.
template <class T>
__device__ __forceinline__ void replace_by_gradient(T* logits, const Classifier& a, float log_sum) {
  const float weight = a.mask[blockIdx.x];
  const std::int64_t target = a.targets[blockIdx.x];
  constexpr int kAtOnce = kSize<T>;
  for (std::int64_t i = threadIdx.x * kAtOnce; i < a.pitch; i += kBlock * kAtOnce) {
    auto gradient = load<kAtOnce>(logits + i);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const float log_probability = widened(gradient.v[k]) - log_sum;
      // expm1: p - 1 without cancellation
      const float value = i + k == target ? expm1f(log_probability) : expf(log_probability);
      gradient.v[k] = rounded<T>(i + k < a.vocabulary ? weight * value : 0.F);
    }
    store<kAtOnce>(logits + i, gradient);
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) classify_row(Classifier a) {
  __shared__ float shared[kBlock / kWarp];
  T* logits = static_cast<T*>(a.logits) + blockIdx.x * a.pitch;
  const Softmax own = softmax_of_thread(logits, a.vocabulary);
  const float maximum = over_block(own.maximum, shared, -INFINITY, [](float value) { return warp_max(value); });
  const float share = own.maximum == -INFINITY ? own.sum : own.sum * expf(own.maximum - maximum);
  const float log_sum = maximum + logf(over_block(share, shared, 0.F, [](float value) { return warp_sum(value); }));
  const float target = widened(logits[a.targets[blockIdx.x]]);
  __syncthreads();  // the target is read before it is replaced
  if (threadIdx.x == 0) a.losses[blockIdx.x] = a.mask[blockIdx.x] * (log_sum - target);
  if (a.with_gradient) replace_by_gradient(logits, a, log_sum);
}

}  // namespace

void classify(const Classifier& a, Stream stream) {
  const Grid grid = {a.rows, 1, kBlock};
  const std::int64_t bytes = a.rows * a.pitch * (a.bfloat16 ? 2 : 4);
  const auto* const logits = static_cast<const std::byte*>(a.logits);
  const Work work = {"classify",
                     {a.with_gradient ? updates(logits, bytes) : reads(logits, bytes), reads(a.targets, a.rows),
                      reads(a.mask, a.rows), writes(a.losses, a.rows)}};
  if (a.bfloat16) {
    launch(work, grid, stream, &classify_row<Bfloat16>, a);
  } else {
    launch(work, grid, stream, &classify_row<float>, a);
  }
}

}  // namespace kangpt::operations::cuda
