#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kWarps = kThreads / kWarp;
constexpr int kRowsOfABlock = 4 * kWarps;  // backward: so many share partial sums

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

template <int kPerLane>
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
    const auto weight = load<L::kSize>(a.weight + L::channel(j));
    const auto bias = load<L::kSize>(a.bias + L::channel(j));
#pragma unroll
    for (int i = 0; i < L::kSize; ++i) values[j].v[i] = (values[j].v[i] - mean) * deviation * weight.v[i] + bias.v[i];
    store<L::kSize>(a.u + row * L::kChannels + L::channel(j), values[j]);
  }
}

// Sums of each block's rows go to partials [blocks, 2, channels]: of the weight, of the bias.
template <int kPerLane>
__global__ void __launch_bounds__(kThreads, 1) normalise_backward(LayerNormBackward a) {
  using L = Lane<kPerLane>;
  __shared__ float shared[2][L::kChannels];
  typename L::Values dweight[L::kVectors] = {}, dbias[L::kVectors] = {};
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRowsOfABlock;
  for (std::int64_t row = begin + warp; row < begin + kRowsOfABlock && row < a.rows; row += kWarps) {
    const float mean = a.mean[row], deviation = a.deviation[row];
    const std::int64_t at = row * L::kChannels;
    float sum = 0, product = 0;
#pragma unroll
    for (int j = 0; j < L::kVectors; ++j) {
      const auto x = load<L::kSize>(a.x + at + L::channel(j));
      const auto du = load<L::kSize>(a.du + at + L::channel(j));
      const auto weight = load<L::kSize>(a.weight + L::channel(j));
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) {
        const float normal = (x.v[i] - mean) * deviation;
        dweight[j].v[i] += du.v[i] * normal;
        dbias[j].v[i] += du.v[i];
        sum += du.v[i] * weight.v[i];
        product += du.v[i] * weight.v[i] * normal;
      }
    }
    sum = warp_sum(sum) / L::kChannels;
    product = warp_sum(product) / L::kChannels;
#pragma unroll
    for (int j = 0; j < L::kVectors; ++j) {  // read again, from a cache: registers are few
      const auto x = load<L::kSize>(a.x + at + L::channel(j));
      const auto du = load<L::kSize>(a.du + at + L::channel(j));
      const auto weight = load<L::kSize>(a.weight + L::channel(j));
      auto dx = load<L::kSize>(a.dx + at + L::channel(j));
#pragma unroll
      for (int i = 0; i < L::kSize; ++i) {
        const float normal = (x.v[i] - mean) * deviation;
        dx.v[i] += deviation * (du.v[i] * weight.v[i] - sum - normal * product);
      }
      store<L::kSize>(a.dx + at + L::channel(j), dx);
    }
  }
  for (int turn = 0; turn < kWarps; ++turn) {  // warps add in their order
    if (warp == turn) {
#pragma unroll
      for (int j = 0; j < L::kVectors; ++j) {
#pragma unroll
        for (int i = 0; i < L::kSize; ++i) {
          const int channel = L::channel(j) + i;
          shared[0][channel] = (turn == 0 ? 0 : shared[0][channel]) + dweight[j].v[i];
          shared[1][channel] = (turn == 0 ? 0 : shared[1][channel]) + dbias[j].v[i];
        }
      }
    }
    __syncthreads();
  }
  float* partials = a.partials + static_cast<std::int64_t>(blockIdx.x) * 2 * L::kChannels;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * L::kChannels; i += static_cast<int>(kThreads)) {
    partials[i] = shared[i / L::kChannels][i % L::kChannels];
  }
}

// dweight and dbias += the sums of the blocks' partials, in their order.
__global__ void __launch_bounds__(kThreads) add_norm_partials(LayerNormBackward a, std::int64_t blocks) {
  const std::int64_t column = own_column();
  const float sum =
      sum_of_column(0, blocks, [&](std::int64_t block) { return a.partials[block * 2 * a.channels + column]; });
  if (threadIdx.x >= kWarp) return;
  if (column < a.channels) {
    a.dweight[column] += sum;
  } else {
    a.dbias[column - a.channels] += sum;
  }
}

// Calls `function` with the number of channels a lane takes, where there is a version for it.
template <class Function>
bool for_channels(std::int64_t channels, Function function) {
  if (channels % kWarp != 0) return false;
  return for_size<1, 2, 4, 8, 12, 16, 24, 32>(channels / kWarp, function);
}

}  // namespace

bool has_layer_norm(std::int64_t channels) {
  return for_channels(channels, [](auto) {});
}

void layer_norm(const LayerNorm& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  const Work work = {"layer_norm",
                     {reads(a.x, elements), reads(a.weight, a.channels), reads(a.bias, a.channels),
                      writes(a.u, elements), writes(a.mean, a.rows), writes(a.deviation, a.rows)}};
  for_channels(a.channels, [&](auto per_lane) {
    launch(work, {divided_up(a.rows, kWarps)}, stream, &normalise<decltype(per_lane)::value>, a);
  });
}

std::int64_t layer_norm_partials(std::int64_t rows, std::int64_t channels) {
  return divided_up(rows, kRowsOfABlock) * 2 * channels;
}

void layer_norm_backward(const LayerNormBackward& a, Stream stream) {
  const std::int64_t blocks = divided_up(a.rows, kRowsOfABlock);
  const std::int64_t elements = a.rows * a.channels, partials = layer_norm_partials(a.rows, a.channels);
  const Work work = {
      "layer_norm_backward",
      {reads(a.x, elements), reads(a.mean, a.rows), reads(a.deviation, a.rows), reads(a.weight, a.channels),
       reads(a.du, elements), updates(a.dx, elements), writes(a.partials, partials)}};
  for_channels(a.channels, [&](auto per_lane) {
    launch(work, {blocks}, stream, &normalise_backward<decltype(per_lane)::value>, a);
  });
  launch({"layer_norm_partials",
          {reads(a.partials, partials), updates(a.dweight, a.channels), updates(a.dbias, a.channels)}},
         {2 * a.channels / static_cast<std::int64_t>(kWarp)}, stream, &add_norm_partials, a, blocks);
}

}  // namespace kangpt::operations::cuda
