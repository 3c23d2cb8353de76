// Runs kernels in plain CUDA C++ on the host. A file of kernels is compiled with this one in front of it: each thread
// of a block is a fiber, barriers and shuffles switch between them. Atomics, dynamic shared memory and clusters are not
// there.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): CUDA's names
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local  // blocks run one after another
#define __syncthreads() ::kangpt::emulator::wait_for_block()
#define threadIdx (::kangpt::emulator::place().thread)
#define blockIdx (::kangpt::emulator::place().block)
#define blockDim (::kangpt::emulator::place().threads)
#define gridDim (::kangpt::emulator::place().blocks)
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

namespace kangpt::emulator {

struct Index {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

// Of the thread that runs.
struct Place {
  Index thread;
  Index block;
  Index threads;  // of a block
  Index blocks;
};
const Place& place();

void wait_for_block();
// What thread `lane` of this one's warp gives at the same time.
std::uint64_t exchange_in_warp(std::uint64_t bits, unsigned lane);
unsigned lane();
// Else run() throws std::logic_error, as a GPU would stop.
void require_aligned(const void* address, std::size_t alignment);

// In which order the threads of a block, and the blocks, come to run from now on; 0: as they are numbered. What comes
// out may not depend on it.
void set_order(std::uint64_t seed);

// Runs `thread` for each thread of the grid. Throws std::logic_error where only some threads of a block get to a
// barrier, or of a warp to a shuffle, and where a block is no whole number of warps.
void run(Index blocks, Index threads, const std::function<void()>& thread);

template <class T>
T shuffle(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange_in_warp(bits, from);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace kangpt::emulator

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): CUDA's names
template <class T>
T __shfl_xor_sync(unsigned /*mask*/, T value, unsigned lanes) {
  return ::kangpt::emulator::shuffle(value, ::kangpt::emulator::lane() ^ lanes);
}

template <class T>
T __shfl_sync(unsigned /*mask*/, T value, unsigned lane) {
  return ::kangpt::emulator::shuffle(value, lane);
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
