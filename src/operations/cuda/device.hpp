// What the files of kernels share: types, vectors of up to 16 bytes, sums over a warp or a block, launches. For nvcc,
// or for the host behind tests/support/cuda_emulator/emulator.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <string>

#include "base/error.hpp"
#endif

#include "operations/cuda/kernels.hpp"

namespace kangpt::operations::cuda {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kWholeWarp = 0xffffffffU;
inline constexpr unsigned kThreads = 256;  // of most blocks

struct Bfloat16 {
  std::uint16_t bits;
};

__device__ __forceinline__ float widened(float value) {
  return value;
}
__device__ __forceinline__ float widened(Bfloat16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

template <class T>
__device__ __forceinline__ T rounded(float value);
template <>
__device__ __forceinline__ float rounded<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ Bfloat16 rounded<Bfloat16>(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {0x7fc0};  // not a number
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

// Loaded and stored at once.
template <class T, int kSize>
struct alignas(sizeof(T) * kSize) Vector {
  T v[kSize];
};

// A GPU stops at an address that is no multiple of the vector's size.
template <int kSize, class T>
__device__ __forceinline__ Vector<T, kSize> load(const T* from) {
#ifndef __CUDACC__
  emulator::require_aligned(from, alignof(Vector<T, kSize>));
#endif
  return *reinterpret_cast<const Vector<T, kSize>*>(from);
}
template <int kSize, class T>
__device__ __forceinline__ void store(T* to, const Vector<T, kSize>& values) {
#ifndef __CUDACC__
  emulator::require_aligned(to, alignof(Vector<T, kSize>));
#endif
  *reinterpret_cast<Vector<T, kSize>*>(to) = values;
}

// The same in global memory. There store() may become a store for each element, where nvcc does not see through the
// address.
template <int kSize>
__device__ __forceinline__ void store_at_once(float* to, const Vector<float, kSize>& values) {
#ifdef __CUDACC__
  if constexpr (sizeof values == sizeof(float4)) {
    return __stwb(reinterpret_cast<float4*>(to), make_float4(values.v[0], values.v[1], values.v[2], values.v[3]));
  }
#endif
  store<kSize>(to, values);
}

__device__ __forceinline__ float warp_max(float value) {
  for (unsigned lanes = kWarp / 2; lanes > 0; lanes /= 2)
    value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, lanes));
  return value;
}
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (unsigned lanes = kWarp / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kWholeWarp, value, lanes);
  return value;
}

// Of all threads of the block, given to all. `shared`: an element for each warp, free on return.
template <class T, class Reduce>
__device__ __forceinline__ T over_block(T value, T* shared, T neutral, Reduce reduce) {
  value = reduce(value);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = threadIdx.x % kWarp < blockDim.x / kWarp ? shared[threadIdx.x % kWarp] : neutral;
  __syncthreads();
  return reduce(value);
}

// Of a column, of which a block takes 32, one a lane: the sum of element(i) for begin <= i < end. The warps take turns,
// and their sums are added in their order. For the first warp; the others get their own.
template <class Element>
__device__ __forceinline__ float sum_of_column(std::int64_t begin, std::int64_t end, Element element) {
  constexpr unsigned kWarps = kThreads / kWarp;
  __shared__ float shared[kWarps][kWarp];
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  float sum = 0;
  for (std::int64_t i = begin + warp; i < end; i += kWarps) sum += element(i);
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp == 0) {
    for (unsigned other = 1; other < kWarps; ++other) sum += shared[other][lane];
  }
  return sum;
}
// Which one this thread's is.
__device__ __forceinline__ std::int64_t own_column() {
  return static_cast<std::int64_t>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
}

// Calls function(std::integral_constant<int, size>()) where `size` is one of kSizes; says whether it is.
template <int... kSizes, class Function>
bool for_size(std::int64_t size, Function function) {
  const auto call = [&](auto one) {
    if (size != decltype(one)::value) return false;
    function(one);
    return true;
  };
  return (call(std::integral_constant<int, kSizes>()) || ...);
}

// The number of this thread in a grid of one dimension.
__device__ __forceinline__ std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

inline std::int64_t divided_up(std::int64_t value, std::int64_t by) {
  return (value + by - 1) / by;
}

// What a launch does with a matrix that is written for products, or by them.
inline MemoryUse operand_read(const void* begin, std::int64_t count, OperandType type) {
  return reads(static_cast<const std::byte*>(begin), count * (type == OperandType::kBfloat16 ? 2 : 4));
}
inline MemoryUse operand_written(const void* begin, std::int64_t count, OperandType type) {
  return writes(static_cast<const std::byte*>(begin), count * (type == OperandType::kBfloat16 ? 2 : 4));
}

struct Grid {
  std::int64_t blocks;    // along x
  std::int64_t rows = 1;  // of blocks, along y; up to 65,535
  unsigned threads = kThreads;
};

// `work`: what the kernel does to memory, which nobody can see from outside.
template <class... Parameters>
// NOLINTNEXTLINE(readability-function-size): the arguments of the kernel come last
void launch(const Work& work, const Grid& grid, Stream stream, void (*kernel)(Parameters...), Parameters... arguments) {
  if (grid.blocks == 0 || grid.rows == 0 || !begin_launch(work, stream)) return;
#ifdef __CUDACC__
  const dim3 blocks(static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.rows));
  kernel<<<blocks, grid.threads, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw InternalError(std::string("a kernel was not launched: ") + cudaGetErrorString(error));
#else
  static_cast<void>(stream);
  emulator::run({static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.rows)}, {grid.threads},
                [&] { kernel(arguments...); });
#endif
}

}  // namespace kangpt::operations::cuda
