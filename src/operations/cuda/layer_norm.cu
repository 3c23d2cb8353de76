#include <algorithm>

#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kWarps = kThreads / kWarp;
constexpr int kRowsOfABlock = 4 * kWarps;  // backward: so many share partial sums
constexpr int kSums = 3;                   // of a channel: for the weight, for the bias, of dx

// A warp takes a row; a lane kPerLane channels of it, in vectors.
template <int kPerLane>
struct Lane {
  static constexpr int kSize = kPerLane % 4 == 0 ? 4 : kPerLane;
  static constexpr int kVectors = kPerLane / kSize;
  static constexpr int kChannels = kPerLane * static_cast<int>(kWarp);
  using Values = Vector<float, kSize>;

  static __device__ __forceinline__ int channel(int vector) {
    return (vector * static_cast<int>(kWarp) + static_cast<int>(threadIdx.x % kWarp)) * kSize;
  }
};

template <class T, int kSize>
__device__ __forceinline__ void store_rounded(T* to, const Vector<float, kSize>& values) {
  Vector<T, kSize> results;
#pragma unroll
  for (int i = 0; i < kSize; ++i) results.v[i] = rounded<T>(values.v[i]);
  store<kSize>(to, results);
}

// T_d and the one before, of some channels, in registers.
template <int kSize>
struct Polynomials {
  Vector<float, kSize> t, previous, current;

  __device__ __forceinline__ explicit Polynomials(const Vector<float, kSize>& u) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      t.v[i] = tanhf(u.v[i]);
      previous.v[i] = 1;
      current.v[i] = t.v[i];
    }
  }
  __device__ __forceinline__ void next() {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      const float further = 2 * t.v[i] * current.v[i] - previous.v[i];
      previous.v[i] = current.v[i];
      current.v[i] = further;
    }
  }
};

// u, or the polynomials of it.
template <class T, int kSize>
__device__ __forceinline__ void store_operand(const LayerNorm& a, std::int64_t row, int channel,
                                              const Vector<float, kSize>& u) {
  T* const to = static_cast<T*>(a.u) + channel;
  if (a.degree == 0) return store_rounded(to + row * a.channels, u);
  Polynomials<kSize> polynomials(u);
  for (std::int64_t d = 0; d < a.degree; ++d) {
    store_rounded(to + (row * a.degree + d) * a.channels, polynomials.current);
    polynomials.next();
  }
}

template <int kPerLane, class T>
__global__ void __launch_bounds__(kThreads) normalise(LayerNorm a) {
  using L = Lane<kPerLane>;
  const std::int64_t row = global_thread() / kWarp;
  if (row >= a.rows) return;
  const float* x = a.x + row * L::kChannels;
  typename L::Values values[L::kVectors];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < L::kVectors; ++j) {
    values[j] = load<L::kSize>(x + L::channel(j));
#pragma unroll
    for (int i = 0; i < L::kSize; ++i) sum += values[j].v[i];
  }
  const float mean = warp_sum(sum) / L::kChannels;
  float squares = 0;
#pragma unroll
  for (int j = 0; j < L::kVectors; ++j) {
#pragma unroll
    for (int i = 0; i < L::kSize; ++i) squares += (values[j].v[i] - mean) * (values[j].v[i] - mean);
  }
  const float deviation = 1 / sqrtf(warp_sum(squares) / L::kChannels + a.epsilon);
  if (threadIdx.x % kWarp == 0) {
    a.mean[row] = mean;
    a.deviation[row] = deviation;
  }
#pragma unroll
  for (int j = 0; j < L::kVectors; ++j) {
    if (a.out != nullptr) {
      auto out = load<L::kSize>(a.out_bias + L::channel(j));
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) out.v[i] += values[j].v[i];
      store<L::kSize>(a.out + row * L::kChannels + L::channel(j), out);
    }
    const auto weight = load<L::kSize>(a.weight + L::channel(j));
    const auto bias = load<L::kSize>(a.bias + L::channel(j));
#pragma unroll
    for (int i = 0; i < L::kSize; ++i) values[j].v[i] = (values[j].v[i] - mean) * deviation * weight.v[i] + bias.v[i];
    store_operand<T>(a, row, L::channel(j), values[j]);
  }
}

// The gradient of u: `du`, or by q_d of Operations::chebyshev_backward() that of the polynomials.
template <class T, int kSize>
__device__ __forceinline__ void take_gradient(const LayerNormBackward& a, std::int64_t row, int channel,
                                              const Vector<float, kSize>& u, float* du) {
  const T* const from = static_cast<const T*>(a.du) + channel;
  if (a.degree == 0) {
    const auto some = load<kSize>(from + row * a.channels);
#pragma unroll
    for (int i = 0; i < kSize; ++i) du[i] = widened(some.v[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kSize; ++i) du[i] = 0;
  Polynomials<kSize> p(u);
  for (std::int64_t d = 1; d <= a.degree; ++d) {
    const auto some = load<kSize>(from + (row * a.degree + d - 1) * a.channels);
#pragma unroll
    for (int i = 0; i < kSize; ++i)
      du[i] += widened(some.v[i]) * (static_cast<float>(d) * (p.previous.v[i] - p.t.v[i] * p.current.v[i]));
    p.next();
  }
}

// What a thread adds up of its channels, over its rows.
template <int kPerLane>
struct ChannelSums {
  using L = Lane<kPerLane>;
  float values[kSums][kPerLane] = {};

  // partials [blocks, kSums, channels]: warps add in their order.
  __device__ __forceinline__ void write(float* partials) const {
    __shared__ float shared[kSums][L::kChannels];
    for (int turn = 0; turn < kWarps; ++turn) {
      if (static_cast<int>(threadIdx.x / kWarp) == turn) {
#pragma unroll
        for (int k = 0; k < kSums; ++k) {
#pragma unroll
          for (int j = 0; j < L::kVectors; ++j) {
#pragma unroll
            for (int i = 0; i < L::kSize; ++i) {
              float& sum = shared[k][L::channel(j) + i];
              sum = (turn == 0 ? 0 : sum) + values[k][j * L::kSize + i];
            }
          }
        }
      }
      __syncthreads();
    }
    float* const to = partials + static_cast<std::int64_t>(blockIdx.x) * kSums * L::kChannels;
    for (int i = static_cast<int>(threadIdx.x); i < kSums * L::kChannels; i += static_cast<int>(kThreads))
      to[i] = shared[i / L::kChannels][i % L::kChannels];
  }
};

template <int kPerLane, class T>
__global__ void __launch_bounds__(kThreads, 1) normalise_backward(LayerNormBackward a) {
  using L = Lane<kPerLane>;
  ChannelSums<kPerLane> sums;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRowsOfABlock;
  for (std::int64_t row = begin + threadIdx.x / kWarp; row < begin + kRowsOfABlock && row < a.rows; row += kWarps) {
    const float mean = a.mean[row], deviation = a.deviation[row];
    const std::int64_t at = row * L::kChannels;
    float du[kPerLane];
    float sum = 0, product = 0;
#pragma unroll
    for (int j = 0; j < L::kVectors; ++j) {
      auto normal = load<L::kSize>(a.x + at + L::channel(j));
      const auto weight = load<L::kSize>(a.weight + L::channel(j));
      auto u = load<L::kSize>(a.bias + L::channel(j));
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) {
        normal.v[i] = (normal.v[i] - mean) * deviation;
        u.v[i] += normal.v[i] * weight.v[i];
      }
      take_gradient<T>(a, row, L::channel(j), u, du + j * L::kSize);
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) {
        sums.values[0][j * L::kSize + i] += du[j * L::kSize + i] * normal.v[i];
        sums.values[1][j * L::kSize + i] += du[j * L::kSize + i];
        sum += du[j * L::kSize + i] * weight.v[i];
        product += du[j * L::kSize + i] * weight.v[i] * normal.v[i];
      }
    }
    sum = warp_sum(sum) / L::kChannels;
    product = warp_sum(product) / L::kChannels;
#pragma unroll
    for (int j = 0; j < L::kVectors; ++j) {  // x again, from a cache: registers are few
      const auto x = load<L::kSize>(a.x + at + L::channel(j));
      const auto weight = load<L::kSize>(a.weight + L::channel(j));
      auto dx = load<L::kSize>(a.dx + at + L::channel(j));
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) {
        const float normal = (x.v[i] - mean) * deviation;
        dx.v[i] += deviation * (du[j * L::kSize + i] * weight.v[i] - sum - normal * product);
        sums.values[2][j * L::kSize + i] += dx.v[i];
      }
      store<L::kSize>(a.dx + at + L::channel(j), dx);
      if (a.copy != nullptr) store_rounded(static_cast<T*>(a.copy) + at + L::channel(j), dx);
    }
  }
  sums.write(a.partials);
}

template <int kPerLane, class T>
__global__ void __launch_bounds__(kThreads, 1) copy_rows(LayerNormBackward a) {
  using L = Lane<kPerLane>;
  ChannelSums<kPerLane> sums;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRowsOfABlock;
  for (std::int64_t row = begin + threadIdx.x / kWarp; row < begin + kRowsOfABlock && row < a.rows; row += kWarps) {
#pragma unroll
    for (int j = 0; j < L::kVectors; ++j) {
      const std::int64_t at = row * L::kChannels + L::channel(j);
      const auto dx = load<L::kSize>(a.dx + at);
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) sums.values[2][j * L::kSize + i] += dx.v[i];
      store_rounded(static_cast<T*>(a.copy) + at, dx);
    }
  }
  sums.write(a.partials);
}

// Calls `function` with the number of channels a lane takes, where there is a version for it.
template <class Function>
bool for_channels(std::int64_t channels, Function function) {
  if (channels % kWarp != 0) return false;
  return for_size<1, 2, 4, 8, 12, 16, 24, 32>(channels / kWarp, function);
}

std::int64_t partials_of(const LayerNormBackward& a) {
  return layer_norm_blocks(a.rows) * kSums * a.channels;
}

}  // namespace

bool has_layer_norm(std::int64_t channels) {
  return for_channels(channels, [](auto) {});
}

void layer_norm(const LayerNorm& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  Work work = {"layer_norm",
               {reads(a.x, elements), reads(a.weight, a.channels), reads(a.bias, a.channels),
                operand_written(a.u, elements * std::max<std::int64_t>(a.degree, 1), a.type), writes(a.mean, a.rows),
                writes(a.deviation, a.rows)}};
  if (a.degree > 0) work.name = "layer_norm_and_chebyshev";
  if (a.out != nullptr) {
    work.memory[6] = writes(a.out, elements);
    work.memory[7] = reads(a.out_bias, a.channels);
  }
  const Grid grid = {divided_up(a.rows, kWarps)};
  for_channels(a.channels, [&](auto per_lane) {
    constexpr int kPerLane = decltype(per_lane)::value;
    a.type == OperandType::kFp32 ? launch(work, grid, stream, &normalise<kPerLane, float>, a)
                                 : launch(work, grid, stream, &normalise<kPerLane, Bfloat16>, a);
  });
}

std::int64_t layer_norm_blocks(std::int64_t rows) {
  return divided_up(rows, kRowsOfABlock);
}

void layer_norm_backward(const LayerNormBackward& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  Work work = {"layer_norm_backward",
               {reads(a.x, elements), reads(a.mean, a.rows), reads(a.deviation, a.rows), reads(a.weight, a.channels),
                reads(a.bias, a.channels), operand_read(a.du, elements * std::max<std::int64_t>(a.degree, 1), a.type),
                updates(a.dx, elements), writes(a.partials, partials_of(a))}};
  if (a.degree > 0) work.name = "layer_norm_and_chebyshev_backward";
  if (a.copy != nullptr) work.memory[8] = operand_written(a.copy, elements, a.type);
  for_channels(a.channels, [&](auto per_lane) {
    constexpr int kPerLane = decltype(per_lane)::value;
    const Grid grid = {layer_norm_blocks(a.rows)};
    a.type == OperandType::kFp32 ? launch(work, grid, stream, &normalise_backward<kPerLane, float>, a)
                                 : launch(work, grid, stream, &normalise_backward<kPerLane, Bfloat16>, a);
  });
}

void copy_gradient(const LayerNormBackward& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  const Work work = {
      "copy_gradient",
      {reads(a.dx, elements), operand_written(a.copy, elements, a.type), writes(a.partials, partials_of(a))}};
  for_channels(a.channels, [&](auto per_lane) {
    constexpr int kPerLane = decltype(per_lane)::value;
    const Grid grid = {layer_norm_blocks(a.rows)};
    a.type == OperandType::kFp32 ? launch(work, grid, stream, &copy_rows<kPerLane, float>, a)
                                 : launch(work, grid, stream, &copy_rows<kPerLane, Bfloat16>, a);
  });
}

}  // namespace kangpt::operations::cuda
