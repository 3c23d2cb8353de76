#include "operations/cuda/device.hpp"

namespace kangpt::operations::cuda {
namespace {

constexpr int kSize = 4;    // elements of a thread at once
constexpr int kTurns = 16;  // of all threads of a block
constexpr std::int64_t kBlockElements = std::int64_t{kThreads} * kSize * kTurns;
static_assert(kHashColumns % kSize == 0);

// One of the equal parts of a flat buffer, of which each has a row of blocks.
struct Part {
  const float* values;
  std::int64_t size;
  bool wide;  // all parts begin at whole vectors
};

// The elements from `first` on, and zeros behind the end: what a sum is made of, and in which order, is the same
// wherever the buffer lies.
__device__ __forceinline__ Vector<float, kSize> some_of(const Part& part, std::int64_t first) {
  const float* from = part.values + blockIdx.y * part.size + first;
  if (part.wide && first + kSize <= part.size) return load<kSize>(from);
  Vector<float, kSize> some = {};
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    if (first + i < part.size) some.v[i] = from[i];
  }
  return some;
}

// partials[part, block] = the sum of of_vector(elements, number of the first of them) over all that the block takes.
template <class T, class OfVector>
__device__ __forceinline__ void sum_up_block(const Part& part, T* partials, OfVector of_vector) {
  __shared__ T shared[kThreads / kWarp];
  T sum = 0;
#pragma unroll 4
  for (int turn = 0; turn < kTurns; ++turn) {
    const std::int64_t first = blockIdx.x * kBlockElements + std::int64_t{turn * kThreads + threadIdx.x} * kSize;
    if (first < part.size) sum += of_vector(some_of(part, first), first);
  }
  sum = over_block(sum, shared, T{0}, [](T value) { return warp_sum(value); });
  if (threadIdx.x == 0) partials[static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) add_squares(Part part, double* partials) {
  sum_up_block(part, partials, [](const Vector<float, kSize>& some, std::int64_t /*first*/) {
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kSize; ++i) sum += static_cast<double>(some.v[i]) * static_cast<double>(some.v[i]);
    return sum;
  });
}

// Unsigned, since it overflows.
__global__ void __launch_bounds__(kThreads)
    add_hashes(Part part, std::uint64_t* partials, const std::uint64_t* columns, const std::uint64_t* rows) {
  sum_up_block(part, partials, [&](const Vector<float, kSize>& some, std::int64_t first) {
    std::uint64_t sum = 0;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      std::int32_t bits;
      memcpy(&bits, &some.v[i], sizeof bits);
      sum += static_cast<std::uint64_t>(std::int64_t{bits}) * columns[first % kHashColumns + i];
    }
    return sum * rows[first / kHashColumns];
  });
}

// A block a part: sums[part] = the sum of partials[part, ...], of which a thread adds up every kThreads-th.
template <class T>
__global__ void __launch_bounds__(kThreads) add_blocks(const T* partials, T* sums, std::int64_t blocks) {
  __shared__ T shared[kThreads / kWarp];
  T sum = 0;
  for (std::int64_t i = threadIdx.x; i < blocks; i += kThreads) sum += partials[blockIdx.x * blocks + i];
  sum = over_block(sum, shared, T{0}, [](T value) { return warp_sum(value); });
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

std::int64_t blocks_of(std::int64_t size) {
  return divided_up(size, kBlockElements);
}

Part part_of(const float* values, std::int64_t size) {
  const bool wide = size % kSize == 0 && reinterpret_cast<std::uintptr_t>(values) % sizeof(Vector<float, kSize>) == 0;
  return {values, size, wide};
}

}  // namespace

std::int64_t flat_sum_partials(std::int64_t parts, std::int64_t size) {
  return parts * blocks_of(size);
}

void squared_norms(const SquaredNorms& a, Stream stream) {
  const std::int64_t blocks = blocks_of(a.size);
  const std::int64_t partials = blocks * a.slices;
  launch({"squared_norms", {reads(a.values, a.slices * a.size), writes(a.partials, partials)}}, {blocks, a.slices},
         stream, &add_squares, part_of(a.values, a.size), a.partials);
  launch({"add_blocks", {reads(a.partials, partials), writes(a.norms, a.slices)}}, {a.slices}, stream,
         &add_blocks<double>, static_cast<const double*>(a.partials), a.norms, blocks);
}

void hash_ranges(const Hashes& a, Stream stream) {
  const std::int64_t blocks = blocks_of(a.size);
  const std::int64_t partials = blocks * a.ranges;
  launch({"hash_ranges",
          {reads(a.values, a.ranges * a.size), writes(a.partials, partials), reads(a.columns, kHashColumns),
           reads(a.rows, a.size / kHashColumns + 1)}},
         {blocks, a.ranges}, stream, &add_hashes, part_of(a.values, a.size), a.partials, a.columns, a.rows);
  launch({"add_blocks", {reads(a.partials, partials), writes(a.hashes, a.ranges)}}, {a.ranges}, stream,
         &add_blocks<std::uint64_t>, static_cast<const std::uint64_t*>(a.partials), a.hashes, blocks);
}

}  // namespace kangpt::operations::cuda
