#include <algorithm>
#include <array>
#include <functional>
#include <queue>

#include "data_pipeline/tokenizer/encoder.hpp"

namespace kangpt::data {
namespace {

// Up to this length a scan for the next merge beats a heap.
constexpr std::size_t kShortWordBytes = 64;

void merge_short_word(const Vocabulary& vocabulary, std::string_view word, std::vector<std::uint32_t>& ids) {
  std::array<std::uint32_t, kShortWordBytes + 1> tokens;
  std::array<std::uint32_t, kShortWordBytes + 1> ranks;  // ranks[i]: of the merge of tokens[i] and tokens[i + 1]
  std::size_t count = word.size();
  for (std::size_t i = 0; i < count; ++i) tokens[i] = vocabulary.token_of_byte(static_cast<unsigned char>(word[i]));
  const auto rank_at = [&](std::size_t i) {
    return i + 1 < count ? vocabulary.rank_of(tokens[i], tokens[i + 1]) : Vocabulary::kNoToken;
  };
  for (std::size_t i = 0; i < count; ++i) ranks[i] = rank_at(i);
  while (count > 1) {
    const auto begin = ranks.begin();
    const auto best =
        static_cast<std::size_t>(std::min_element(begin, begin + static_cast<std::ptrdiff_t>(count - 1)) - begin);
    if (ranks[best] == Vocabulary::kNoToken) break;
    tokens[best] = vocabulary.merges()[ranks[best]].token;
    std::copy(tokens.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              tokens.begin() + static_cast<std::ptrdiff_t>(count),
              tokens.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(ranks.begin() + static_cast<std::ptrdiff_t>(best) + 2, ranks.begin() + static_cast<std::ptrdiff_t>(count),
              ranks.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    --count;
    ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
}

// A linked list of tokens and a heap of possible merges, the lowest rank first, the leftmost first among equals. An
// entry of the heap that no longer fits the list is skipped: n log n in all.
class LongWord {
 public:
  LongWord(const Vocabulary& vocabulary, std::string_view word)
      : vocabulary_(vocabulary), tokens_(word.size()), next_(word.size()), previous_(word.size()) {
    for (std::uint32_t i = 0; i < word.size(); ++i) {
      tokens_[i] = vocabulary.token_of_byte(static_cast<unsigned char>(word[i]));
      next_[i] = i + 1;
      previous_[i] = i - 1;
    }
    std::vector<std::uint64_t> entries;
    for (std::uint32_t i = 0; i + 1 < word.size(); ++i) {
      const std::uint32_t rank = vocabulary.rank_of(tokens_[i], tokens_[i + 1]);
      if (rank != Vocabulary::kNoToken) entries.push_back(entry(rank, i));
    }
    heap_ = Heap({}, std::move(entries));
  }

  void merge_all() {
    while (!heap_.empty()) {
      const auto rank = static_cast<std::uint32_t>(heap_.top() >> 32);
      const auto left = static_cast<std::uint32_t>(heap_.top());
      heap_.pop();
      if (rank_at(left) == rank) merge(left, vocabulary_.merges()[rank].token);
    }
  }

  void append_to(std::vector<std::uint32_t>& ids) const {
    for (std::uint32_t i = 0; i < tokens_.size(); i = next_[i]) ids.push_back(tokens_[i]);
  }

 private:
  using Heap = std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>>;
  static std::uint64_t entry(std::uint32_t rank, std::uint32_t position) {
    return (std::uint64_t{rank} << 32) | position;
  }

  std::uint32_t rank_at(std::uint32_t left) const {
    if (tokens_[left] == Vocabulary::kNoToken || next_[left] >= tokens_.size()) return Vocabulary::kNoToken;
    return vocabulary_.rank_of(tokens_[left], tokens_[next_[left]]);
  }

  void merge(std::uint32_t left, std::uint32_t token) {
    const std::uint32_t right = next_[left];
    tokens_[left] = token;
    tokens_[right] = Vocabulary::kNoToken;
    next_[left] = next_[right];
    if (next_[left] < tokens_.size()) previous_[next_[left]] = left;
    push(left);
    if (previous_[left] < tokens_.size()) push(previous_[left]);
  }

  void push(std::uint32_t left) {
    const std::uint32_t rank = rank_at(left);
    if (rank != Vocabulary::kNoToken) heap_.push(entry(rank, left));
  }

  const Vocabulary& vocabulary_;
  std::vector<std::uint32_t> tokens_;  // kNoToken: merged into its left neighbour
  std::vector<std::uint32_t> next_;
  std::vector<std::uint32_t> previous_;  // of the first: 0xFFFFFFFF
  Heap heap_;
};

}  // namespace

void merge_word(const Vocabulary& vocabulary, std::string_view word, std::vector<std::uint32_t>& ids) {
  if (const std::uint32_t token = vocabulary.token_of_word(word); token != Vocabulary::kNoToken) {
    ids.push_back(token);
    return;
  }
  if (word.size() <= kShortWordBytes) {
    merge_short_word(vocabulary, word, ids);
    return;
  }
  LongWord list(vocabulary, word);
  list.merge_all();
  list.append_to(ids);
}

}  // namespace kangpt::data
