#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kSize = 4;    // elements of a thread of look_up()
constexpr int kRows = 64;   // of dx, that a block adds up one after the other
constexpr int kAtOnce = 8;  // of them, that are on their way together

// x[r] = tokens[ids[r]] + positions[r % time].
template <int kWidth>
__global__ void __launch_bounds__(kThreads) look_up(Embedding a) {
  const std::int64_t first = global_thread() * kWidth;
  if (first >= a.rows * a.channels) return;
  const std::int64_t row = first / a.channels, channel = first % a.channels;
  auto x = load<kWidth>(a.tokens + a.ids[row] * a.channels + channel);
  const auto position = load<kWidth>(a.positions + row % a.time * a.channels + channel);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) x.v[i] += position.v[i];
  store<kWidth>(a.x + first, x);
}

// A block's part of the rows in the order of their tokens, and the two rows beside it.
struct Part {
  std::int64_t ids[kRows + 2];  // the first is that of the row before; -1: there is none
  std::int64_t rows[kRows];

  __device__ __forceinline__ std::int64_t id(int place) const { return ids[place + 1]; }
  __device__ __forceinline__ bool begins_here(int first) const { return id(first) != id(first - 1); }
  __device__ __forceinline__ bool ends_here(int last) const { return id(last) != id(last + 1); }
};

__device__ __forceinline__ std::int64_t token_at(const EmbeddingGradient& a, std::int64_t place) {
  return place < 0 || place >= a.rows ? -1 : a.ids[a.by_token[place]];
}

// Of the tokens that have all their rows in this block, the whole sum; of others what is here: of one that began before
// in the first partials, of one that begins here in the second.
__global__ void __launch_bounds__(kThreads) add_up_rows(EmbeddingGradient a) {
  __shared__ Part part;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const int count = static_cast<int>(a.rows - begin < kRows ? a.rows - begin : kRows);
  for (int place = static_cast<int>(threadIdx.x); place < count + 2; place += static_cast<int>(blockDim.x))
    part.ids[place] = token_at(a, begin + place - 1);
  for (int place = static_cast<int>(threadIdx.x); place < count; place += static_cast<int>(blockDim.x))
    part.rows[place] = a.by_token[begin + place];
  __syncthreads();
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (channel >= a.channels) return;
  float* const partials = a.partials + 2 * static_cast<std::int64_t>(blockIdx.x) * a.channels + channel;
  float sum = 0;
  bool begins_here = part.begins_here(0);
  for (int first = 0; first < count; first += kAtOnce) {
    const int some = count - first < kAtOnce ? count - first : kAtOnce;
    float values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) values[i] = i < some ? a.dx[part.rows[first + i] * a.channels + channel] : 0;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (i >= some) break;
      const int place = first + i;
      sum += values[i];
      const bool ends_here = part.ends_here(place);
      if (!ends_here && place + 1 < count) continue;
      if (begins_here && ends_here) {
        a.tokens[part.id(place) * a.channels + channel] += sum;
      } else {
        partials[begins_here ? a.channels : 0] = sum;
      }
      begins_here = true;
      sum = 0;
    }
  }
}

// Of a token that begins in this block's part of the rows and goes on behind it.
__global__ void __launch_bounds__(kThreads) add_up_parts(EmbeddingGradient a) {
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRows, end = begin + kRows;
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (channel >= a.channels) return;
  const std::int64_t token = token_at(a, end - 1);
  if (token < 0 || token_at(a, end) != token) return;
  if (token_at(a, begin) == token && token_at(a, begin - 1) == token) return;
  const float* partials = a.partials + 2 * static_cast<std::int64_t>(blockIdx.x) * a.channels + channel;
  float sum = partials[a.channels];
  for (std::int64_t next = end; token_at(a, next) == token; next += kRows) {
    partials += 2 * a.channels;
    sum += *partials;
  }
  a.tokens[token * a.channels + channel] += sum;
}

Grid grid_of(const EmbeddingGradient& a) {
  const std::int64_t threads = a.channels < kThreads ? divided_up(a.channels, kWarp) * kWarp : kThreads;
  return {divided_up(a.rows, kRows), divided_up(a.channels, threads), static_cast<unsigned>(threads)};
}

// Whose gradient is read and written: nobody on the host knows how many tokens differ.
MemoryUse tokens_of(const EmbeddingGradient& a) {
  const std::int64_t most = a.rows < a.vocabulary ? a.rows : a.vocabulary;
  return updates(a.tokens, most * a.channels).among<float>(a.vocabulary * a.channels);
}

}  // namespace

void embed(const Embedding& a, Stream stream) {
  const std::int64_t elements = a.rows * a.channels;
  const Work work = {"embed",
                     {reads(a.ids, a.rows), reads(a.tokens, elements).among<float>(a.vocabulary * a.channels),
                      reads(a.positions, a.time * a.channels), writes(a.x, elements)}};
  if (a.channels % kSize == 0) {
    launch(work, {divided_up(elements, kSize * kThreads)}, stream, &look_up<kSize>, a);
  } else {
    launch(work, {divided_up(elements, kThreads)}, stream, &look_up<1>, a);
  }
}

std::int64_t embedding_gradient_partials(std::int64_t rows, std::int64_t channels) {
  return divided_up(rows, kRows) * 2 * channels;
}

void add_embedding_gradient(const EmbeddingGradient& a, Stream stream) {
  const std::int64_t partials = embedding_gradient_partials(a.rows, a.channels);
  launch({"embedding_gradient_of_rows",
          {reads(a.ids, a.rows), reads(a.by_token, a.rows), reads(a.dx, a.rows * a.channels),
           writes(a.partials, partials), tokens_of(a)}},
         grid_of(a), stream, &add_up_rows, a);
  launch({"embedding_gradient_of_parts",
          {reads(a.ids, a.rows), reads(a.by_token, a.rows), reads(a.partials, partials), tokens_of(a)}},
         grid_of(a), stream, &add_up_parts, a);
}

}  // namespace kangpt::operations::cuda
