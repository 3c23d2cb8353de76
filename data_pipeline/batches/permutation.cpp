#include "data_pipeline/batches/permutation.hpp"

#include <algorithm>
#include <bit>

namespace kangpt::data {
namespace {

// Four rounds of a good function can't be told from random (Luby and Rackoff, 1988); two more, since with few samples
// its halves have few bits. It costs nanoseconds a sample.
constexpr int kRounds = 6;

// The output function of SplitMix64 (Steele, Lea and Flood, 2014).
std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch) noexcept
    : size_(size), key_(key_of(seed, epoch)) {
  const auto bits = static_cast<unsigned>(std::bit_width(size - 1));
  half_bits_ = std::max(1U, (bits + 1) / 2);
}

std::uint64_t Permutation::key_of(std::uint64_t seed, std::uint64_t epoch) noexcept {
  return mix(mix(seed) ^ epoch);
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const noexcept {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    // The round in the upper bits, where `right` has none (half_bits_ <= 31): each round has a function of its own.
    const std::uint64_t next = left ^ (mix(key_ + (round << 56) + right) & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

// encrypt() permutes the whole domain; going on along its cycle until a value is inside leaves a permutation of what is
// inside. It ends, since the cycle comes back to `index` itself, after 4 calls on average at the most.
std::uint64_t Permutation::operator()(std::uint64_t index) const noexcept {
  do {
    index = encrypt(index);
  } while (index >= size_);
  return index;
}

}  // namespace kangpt::data
