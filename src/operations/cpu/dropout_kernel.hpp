// The numbers of dropout, and dropout itself, on the CPU.
#pragma once

#include <array>
#include <cstdint>

namespace kangpt::operations::cpu {

// Philox4x32-10: a bijection of the counter for each key.
struct PhiloxCounter {
  std::uint32_t words[4];
};
__attribute__((always_inline)) inline PhiloxCounter philox(PhiloxCounter c, std::uint32_t key0, std::uint32_t key1) {
#pragma GCC unroll 10
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

template <class T>
struct Drop {  // out = value * scale, or 0 where Dropout (dropout.hpp) leaves an element out; `out` may be `values`
  const T* values;
  T* out;
  std::int64_t count;
  std::uint64_t first;  // number of the first element
  std::uint64_t seed;
  std::uint32_t step;
  std::uint32_t place;  // with what the step has above 32 bits
  std::uint32_t kept;
  T scale;
};
void drop(const Drop<float>& a);
void drop(const Drop<double>& a);

}  // namespace kangpt::operations::cpu
