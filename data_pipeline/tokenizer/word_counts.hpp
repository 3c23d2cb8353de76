// How often each word stands in a text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data_pipeline/tokenizer/word_cache.hpp"
#include "data_pipeline/tokenizer/word_scanner.hpp"

namespace kangpt::data {

// Memory grows with the number of distinct words alone. Not thread-safe.
class WordCounts {
 public:
  // Words are those that Encoder would encode. Throws std::bad_alloc alone.
  void add(PaddedText text);
  void add(const WordCounts& other);

  std::uint64_t distinct_words() const noexcept { return short_words_ + long_words_.size(); }

  struct Word {
    std::string text;
    std::uint64_t count = 0;
  };
  // In the order of their bytes, whatever the order in which they were added.
  std::vector<Word> sorted() const;

 private:
  struct Entry {
    WordKey key;  // zeros: free
    std::uint64_t count = 0;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const noexcept { return std::hash<std::string_view>()(word); }
  };

  std::size_t slot_of(const WordKey& key) const noexcept {
    return ((key.low ^ (key.high * 0x9E3779B97F4A7C15U)) * 0xD6E8FEB86659FD93U) >> shift_;
  }
  void add_long(std::string_view word, std::uint64_t count);
  void add_short(const WordKey& key, std::uint64_t count) {
    for (std::size_t slot = slot_of(key);; ++slot) {
      Entry& entry = entries_[slot & (entries_.size() - 1)];
      if (entry.key == key) {
        entry.count += count;
        return;
      }
      if (entry.key == WordKey{}) return insert(entry, key, count);
    }
  }
  void insert(Entry& entry, const WordKey& key, std::uint64_t count);
  void add_batch(std::string_view text, const std::vector<std::uint32_t>& starts, std::size_t words);
  void grow();

  static constexpr unsigned kFirstBits = 14;
  unsigned shift_ = 64 - kFirstBits;
  std::vector<Entry> entries_ = std::vector<Entry>(std::size_t{1} << kFirstBits);  // half full at most
  std::uint64_t short_words_ = 0;                                                  // of up to WordKey::kLongestBytes
  std::unordered_map<std::string, std::uint64_t, Hash, std::equal_to<>> long_words_;
};

}  // namespace kangpt::data
