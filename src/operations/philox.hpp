// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011), on the CPU and on GPUs.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define KANGPT_ANYWHERE __host__ __device__ __forceinline__
#else
#define KANGPT_ANYWHERE __attribute__((always_inline)) inline
#endif

namespace kangpt::operations {

// A bijection of the counter for each key.
struct PhiloxCounter {
  std::uint32_t words[4];
};
KANGPT_ANYWHERE PhiloxCounter philox(PhiloxCounter c, std::uint32_t key0, std::uint32_t key1) {
#ifdef __CUDACC__
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53} * c.words[0];
    const std::uint64_t second = std::uint64_t{0xCD9E8D57} * c.words[2];
    c = {{static_cast<std::uint32_t>(second >> 32) ^ c.words[1] ^ key0, static_cast<std::uint32_t>(second),
          static_cast<std::uint32_t>(first >> 32) ^ c.words[3] ^ key1, static_cast<std::uint32_t>(first)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return c;
}

}  // namespace kangpt::operations
