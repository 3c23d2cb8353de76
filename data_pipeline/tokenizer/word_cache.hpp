// Remembers the token ids of short words.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace kangpt::data {

// A word of up to 15 bytes: its bytes, zeros, and its length. The key is the word, so that a hit needs no look at the
// text: two comparisons of registers instead of a loop over bytes. Most words of English text are shorter. The length,
// in the last byte, tells "a" from "a\0", and keeps the key of a word from being that of an empty entry, all zeros.
struct WordKey {
  static constexpr std::size_t kLongestBytes = 15;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const WordKey&) const = default;
};

inline constexpr auto kWordKeyMasks = [] {
  std::array<WordKey, WordKey::kLongestBytes + 1> masks{};
  for (std::size_t length = 0; length < masks.size(); ++length) {
    masks[length].low = length >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * length)) - 1;
    masks[length].high = length <= 8 ? 0 : (std::uint64_t{1} << (8 * (length - 8))) - 1;
  }
  return masks;
}();

// Of the `length` <= 15 bytes at `data`, where 16 bytes may be read: two loads and masks, whatever the length. A copy
// of `length` bytes would be a call, or a branch that the processor guesses wrong.
inline WordKey word_key(const char* data, std::size_t length) noexcept {
  WordKey key;
  std::memcpy(&key.low, data, 8);
  std::memcpy(&key.high, data + 8, 8);
  key.low &= kWordKeyMasks[length].low;
  key.high = (key.high & kWordKeyMasks[length].high) | (std::uint64_t{length} << 56);
  return key;
}

// A hash table with room for two words in each bucket, a cache line: 64 Ki words in 2 MiB. The first word of a bucket
// stays, the second makes room for newer ones: frequent words come early, so it takes no counters to keep them, and a
// text full of rare words can't drive them out. A line holds all that a look-up reads: one miss at the most, which
// prefetch() hides. Bounded, since text has no end of words. Not thread-safe: with one for each thread nothing is
// locked, and what it knows changes the speed but never an id.
class WordCache {
 public:
  static constexpr std::size_t kMostIds = 4;
  static constexpr std::uint32_t kLargestId = (1U << 28) - 1;

  struct Entry {
    WordKey key;
    std::array<std::uint32_t, kMostIds> ids{};  // the count in the upper 4 bits of the first: key and ids fill 32 bytes
  };

  WordCache() : buckets_(kBuckets) {}

  // Two multiplications by odd numbers, and their upper bits, which depend on all bits of the key.
  std::size_t bucket_of(const WordKey& key) const noexcept {
    return ((key.low ^ (key.high * 0x9E3779B97F4A7C15U)) * 0xD6E8FEB86659FD93U) >> (64 - kBucketBits);
  }
  void prefetch(std::size_t bucket) const noexcept { __builtin_prefetch(&buckets_[bucket]); }
  // nullptr if the word is not known.
  const Entry* find(std::size_t bucket, const WordKey& key) const noexcept {
    const Bucket& found = buckets_[bucket];
    if (found.first.key == key) return &found.first;
    return found.second.key == key ? &found.second : nullptr;
  }
  // Remembers 1 to kMostIds ids, none above kLargestId.
  void insert(std::size_t bucket, const WordKey& key, std::span<const std::uint32_t> ids) noexcept {
    Entry& entry = buckets_[bucket].place_for_new();
    entry = {key, {}};
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
    entry.ids[0] |= static_cast<std::uint32_t>(ids.size()) << 28;
  }
  // Writes kMostIds ids, of which the first n are meant, and returns n: the next word's ids cover the rest. A copy of
  // fixed size takes one instruction, and no branch on n.
  static std::size_t copy(const Entry& entry, std::uint32_t* ids) noexcept {
    std::memcpy(ids, entry.ids.data(), sizeof entry.ids);
    ids[0] &= kLargestId;
    return entry.ids[0] >> 28;
  }

 private:
  static constexpr unsigned kBucketBits = 15;
  static constexpr std::size_t kBuckets = std::size_t{1} << kBucketBits;
  struct alignas(64) Bucket {
    Entry first;
    Entry second;

    Entry& place_for_new() noexcept { return first.key == WordKey{} ? first : second; }
  };

  std::vector<Bucket> buckets_;
};

}  // namespace kangpt::data
