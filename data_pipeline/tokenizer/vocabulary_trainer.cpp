#include "data_pipeline/tokenizer/vocabulary_trainer.hpp"

#include <algorithm>
#include <bit>
#include <queue>
#include <ranges>
#include <unordered_map>
#include <unordered_set>

#include "data_pipeline/tokenizer/byte_characters.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"

namespace kangpt::data {
namespace {

using Pair = std::uint64_t;  // left token above, right token below: numbers in the order of pairs

constexpr Pair pair_of(std::uint32_t left, std::uint32_t right) {
  return (Pair{left} << 32) | right;
}

// How often each pair stands in the text, as far as merges have not taken it apart.
class PairCounts {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFU;
  struct Entry {
    Pair pair = ~Pair{0};  // of none
    std::int64_t count = 0;
    std::uint32_t words = kNone;  // the list that is being filled, where it is
  };

  // Valid until the next call.
  Entry& operator[](Pair pair) {
    if (2 * used_ >= entries_.size()) grow();
    Entry& entry = *find(pair);
    if (entry.pair != pair) {
      entry.pair = pair;
      ++used_;
    }
    return entry;
  }

 private:
  Entry* find(Pair pair) {
    for (std::size_t slot = (pair * 0x9E3779B97F4A7C15U) >> shift_;; ++slot) {
      Entry& entry = entries_[slot & (entries_.size() - 1)];
      if (entry.pair == pair || entry.pair == ~Pair{0}) return &entry;
    }
  }
  void grow() {
    std::vector<Entry> before(entries_.size() * 2);
    before.swap(entries_);
    --shift_;
    for (const Entry& entry : before)
      if (entry.pair != ~Pair{0}) *find(entry.pair) = entry;
  }

  static constexpr unsigned kFirstBits = 16;
  unsigned shift_ = 64 - kFirstBits;
  std::vector<Entry> entries_ = std::vector<Entry>(std::size_t{1} << kFirstBits);
  std::size_t used_ = 0;
};

// A pair that may merge next. Its count may have shrunk since, which is looked at when it comes to the top.
struct Candidate {
  std::int64_t count;
  Pair pair;
  std::uint32_t words;  // index of the list of words that have it
  bool operator<(const Candidate& other) const {
    if (count != other.count) return count < other.count;
    return pair != other.pair ? pair > other.pair : words > other.words;
  }
};

class Training {
 public:
  explicit Training(const std::vector<WordCounts::Word>& words) {
    std::array<std::uint32_t, 256> id_of_byte{};
    for (const std::uint8_t byte : bytes_by_character()) {
      id_of_byte[byte] = static_cast<std::uint32_t>(tokens_.size());
      add_token(std::string(1, static_cast<char>(byte)));
    }
    for (const WordCounts::Word& word : words) {
      if (word.text.size() < 2) continue;
      words_.push_back({tokens_of_words_.size(), static_cast<std::uint32_t>(word.text.size()),
                        static_cast<std::int64_t>(word.count)});
      for (const char c : word.text) tokens_of_words_.push_back(id_of_byte[static_cast<unsigned char>(c)]);
    }
    count_pairs();
  }

  void run(std::uint32_t size, const std::function<void(std::uint32_t)>& on_token) {
    while (tokens_.size() < size && !candidates_.empty()) {
      Candidate top = candidates_.top();
      candidates_.pop();
      const std::int64_t now = pairs_[top.pair].count;
      if (top.count != now) {
        top.count = now;
        candidates_.push(top);
        continue;
      }
      if (now < 1) return;
      merge(top);
      if (on_token) on_token(static_cast<std::uint32_t>(tokens_.size()));
    }
  }

  VocabularyParts result() && {
    VocabularyParts parts;
    // Of a pair that merged twice, which a token that two pairs make can bring about, the later time counts.
    std::unordered_set<Pair> seen;
    for (const auto& merge : std::views::reverse(merges_))
      if (seen.insert(pair_of(merge.left, merge.right)).second) parts.merges.push_back(merge);
    std::reverse(parts.merges.begin(), parts.merges.end());
    parts.tokens = std::move(tokens_);
    parts.end_of_text = static_cast<std::uint32_t>(parts.tokens.size());
    parts.special = {parts.end_of_text};
    parts.tokens.emplace_back(kEndOfText);
    return parts;
  }

 private:
  struct WordTokens {
    std::size_t begin;  // in tokens_of_words_
    std::uint32_t size;
    std::int64_t count;
  };

  // The id of a token; a new one where there is none of these bytes.
  std::uint32_t add_token(std::string bytes) {
    const auto [entry, is_new] = ids_.try_emplace(std::move(bytes), static_cast<std::uint32_t>(tokens_.size()));
    if (is_new) tokens_.push_back(entry->first);
    return entry->second;
  }

  void count_pairs() {
    for (std::uint32_t word = 0; word < words_.size(); ++word) {
      const std::uint32_t* const tokens = tokens_of_words_.data() + words_[word].begin;
      for (std::uint32_t i = 0; i + 1 < words_[word].size; ++i) appears(pair_of(tokens[i], tokens[i + 1]), word);
    }
    offer_new();
  }

  void appears(Pair pair, std::uint32_t word) {
    PairCounts::Entry& entry = pairs_[pair];
    entry.count += words_[word].count;
    if (entry.words == PairCounts::kNone) {
      entry.words = take_list();
      new_pairs_.push_back(pair);
    }
    std::vector<std::uint32_t>& list = lists_[entry.words];
    if (list.empty() || list.back() != word) list.push_back(word);
  }

  std::uint32_t take_list() {
    if (spare_lists_.empty()) {
      lists_.emplace_back();
      return static_cast<std::uint32_t>(lists_.size() - 1);
    }
    const std::uint32_t list = spare_lists_.back();
    spare_lists_.pop_back();
    return list;
  }

  void give_back(std::uint32_t list) {
    std::vector<std::uint32_t>().swap(lists_[list]);
    spare_lists_.push_back(list);
  }

  // Pairs that appeared since the last call become candidates.
  void offer_new() {
    for (const Pair pair : new_pairs_) {
      PairCounts::Entry& entry = pairs_[pair];
      if (entry.count > 0) {
        candidates_.push({entry.count, pair, entry.words});
      } else {
        give_back(entry.words);
      }
      entry.words = PairCounts::kNone;
    }
    new_pairs_.clear();
  }

  void merge(const Candidate& candidate) {
    const auto left = static_cast<std::uint32_t>(candidate.pair >> 32);
    const auto right = static_cast<std::uint32_t>(candidate.pair);
    merges_.push_back({left, right, add_token(tokens_[left] + tokens_[right])});
    const std::vector<std::uint32_t> words = std::move(lists_[candidate.words]);
    give_back(candidate.words);
    for (const std::uint32_t word : words) merge_in(word, merges_.back());
    offer_new();
  }

  void merge_in(std::uint32_t index, const TokenMerge& merge) {
    WordTokens& word = words_[index];
    std::uint32_t* const tokens = tokens_of_words_.data() + word.begin;
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < word.size; ++i, ++kept) {
      if (i + 1 == word.size || tokens[i] != merge.left || tokens[i + 1] != merge.right) {
        tokens[kept] = tokens[i];
        continue;
      }
      ++i;
      if (kept > 0) {
        pairs_[pair_of(tokens[kept - 1], merge.left)].count -= word.count;
        appears(pair_of(tokens[kept - 1], merge.token), index);
      }
      if (i + 1 < word.size) {
        pairs_[pair_of(merge.right, tokens[i + 1])].count -= word.count;
        appears(pair_of(merge.token, tokens[i + 1]), index);
      }
      tokens[kept] = merge.token;
    }
    word.size = kept;
  }

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::vector<TokenMerge> merges_;
  std::vector<WordTokens> words_;
  std::vector<std::uint32_t> tokens_of_words_;  // of all words, one after the other
  PairCounts pairs_;
  std::priority_queue<Candidate> candidates_;
  std::vector<std::vector<std::uint32_t>> lists_;  // words of pairs
  std::vector<std::uint32_t> spare_lists_;
  std::vector<Pair> new_pairs_;
};

}  // namespace

VocabularyParts train_vocabulary(const std::vector<WordCounts::Word>& words, std::uint32_t size,
                                 const std::function<void(std::uint32_t)>& on_token) {
  Training training(words);
  training.run(size - 1, on_token);
  return std::move(training).result();
}

}  // namespace kangpt::data
