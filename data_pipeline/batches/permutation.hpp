// A keyed permutation of 0..n-1 in constant memory: the order of an epoch.
#pragma once

#include <cstdint>

namespace kangpt::data {

// A Feistel network on the next even number of bits, walked until the value is inside (Black and Rogaway, "Ciphers with
// Arbitrary Finite Domains", 2002; the domain is at most 4 times as large). Same (size, seed, epoch): same permutation,
// on any machine.
class Permutation {
 public:
  // 1 <= size <= 2^62
  Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch) noexcept;
  // What decides the order, mixed into one number: a seed for what depends on both.
  static std::uint64_t key_of(std::uint64_t seed, std::uint64_t epoch) noexcept;
  // index < size
  std::uint64_t operator()(std::uint64_t index) const noexcept;

 private:
  std::uint64_t encrypt(std::uint64_t value) const noexcept;

  std::uint64_t size_;
  std::uint64_t key_;
  unsigned half_bits_ = 1;
};

}  // namespace kangpt::data
