#include "data_pipeline/tokenizer/word_counts.hpp"

#include <algorithm>
#include <cstring>

namespace kangpt::data {
namespace {

constexpr std::size_t kBatchWords = 512;

std::string text_of(const WordKey& key) {
  std::array<char, sizeof key> bytes;
  std::memcpy(bytes.data(), &key, sizeof key);
  return {bytes.data(), static_cast<std::size_t>(key.high >> 56)};
}

}  // namespace

void WordCounts::add(PaddedText padded) {
  WordScanner scanner(padded);
  std::vector<std::uint32_t> starts(kBatchWords + 1);
  const std::span<std::uint32_t> room(starts.data(), kBatchWords);
  // The last word of a batch ends where the next batch begins, so it waits for that.
  std::size_t waiting = 0;
  while (const std::size_t found = scanner.next(room.subspan(waiting))) {
    const std::size_t words = waiting + found - 1;
    add_batch(padded.text, starts, words);
    starts[0] = starts[words];
    waiting = 1;
  }
  if (waiting == 0) return;
  starts[1] = static_cast<std::uint32_t>(padded.text.size());
  add_batch(padded.text, starts, 1);
}

// In two passes, so that the memory for all of a batch is fetched while the first words are looked at.
void WordCounts::add_batch(std::string_view text, const std::vector<std::uint32_t>& starts, std::size_t words) {
  std::array<WordKey, kBatchWords> keys;
  for (std::size_t i = 0; i < words; ++i) {
    const std::size_t length = starts[i + 1] - starts[i];
    if (length > WordKey::kLongestBytes) {
      keys[i] = {};
      add_long(text.substr(starts[i], length), 1);
      continue;
    }
    keys[i] = word_key(text.data() + starts[i], length);
    __builtin_prefetch(&entries_[slot_of(keys[i]) & (entries_.size() - 1)]);
  }
  for (std::size_t i = 0; i < words; ++i)
    if (keys[i] != WordKey{}) add_short(keys[i], 1);
}

void WordCounts::add(const WordCounts& other) {
  for (const Entry& entry : other.entries_)
    if (entry.key != WordKey{}) add_short(entry.key, entry.count);
  for (const auto& [word, count] : other.long_words_) add_long(word, count);
}

void WordCounts::add_long(std::string_view word, std::uint64_t count) {
  const auto found = long_words_.find(word);
  if (found == long_words_.end()) {
    long_words_.emplace(word, count);
  } else {
    found->second += count;
  }
}

void WordCounts::insert(Entry& entry, const WordKey& key, std::uint64_t count) {
  entry = {key, count};
  if (++short_words_ * 2 > entries_.size()) grow();
}

void WordCounts::grow() {
  std::vector<Entry> before(entries_.size() * 2);
  before.swap(entries_);
  --shift_;
  for (const Entry& entry : before) {
    if (entry.key == WordKey{}) continue;
    std::size_t slot = slot_of(entry.key);
    while (entries_[slot & (entries_.size() - 1)].key != WordKey{}) ++slot;
    entries_[slot & (entries_.size() - 1)] = entry;
  }
}

std::vector<WordCounts::Word> WordCounts::sorted() const {
  std::vector<Word> words;
  words.reserve(distinct_words());
  for (const Entry& entry : entries_)
    if (entry.key != WordKey{}) words.push_back({text_of(entry.key), entry.count});
  for (const auto& [word, count] : long_words_) words.push_back({word, count});
  std::sort(words.begin(), words.end(), [](const Word& a, const Word& b) { return a.text < b.text; });
  return words;
}

}  // namespace kangpt::data
