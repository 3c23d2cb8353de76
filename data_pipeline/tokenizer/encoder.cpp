#include "data_pipeline/tokenizer/encoder.hpp"

namespace kangpt::data {

Encoder::Encoder(const Vocabulary& vocabulary, WordScanner::Method method) : vocabulary_(vocabulary), method_(method) {}

void Encoder::encode(std::string_view text, std::vector<std::uint32_t>& ids) {
  padded_.assign(text);
  padded_.append(PaddedText::kPaddingBytes, ' ');
  encode(PaddedText{std::string_view(padded_).substr(0, text.size())}, ids);
}

void Encoder::encode(PaddedText padded, std::vector<std::uint32_t>& ids) {
  WordScanner scanner(padded, method_);
  const std::span<std::uint32_t> room(batch_.starts.data(), kBatchWords);
  // The last word of a batch ends where the next batch begins, so it waits for that.
  std::size_t waiting = 0;
  while (const std::size_t found = scanner.next(room.subspan(waiting))) {
    const std::size_t words = waiting + found - 1;
    look_up(padded.text, words, ids);
    batch_.starts[0] = batch_.starts[words];
    waiting = 1;
  }
  if (waiting == 0) return;
  batch_.starts[1] = static_cast<std::uint32_t>(padded.text.size());
  look_up(padded.text, 1, ids);
}

void Encoder::prepare(std::string_view text, std::size_t words) {
  for (std::size_t i = 0; i < words; ++i) {
    const std::size_t length = batch_.starts[i + 1] - batch_.starts[i];
    if (length > WordKey::kLongestBytes) {
      batch_.buckets[i] = kNotCached;
      continue;
    }
    batch_.keys[i] = word_key(text.data() + batch_.starts[i], length);
    const std::size_t bucket = cache_.bucket_of(batch_.keys[i]);
    batch_.buckets[i] = static_cast<std::uint32_t>(bucket);
    cache_.prefetch(bucket);
  }
}

void Encoder::look_up(std::string_view text, std::size_t words, std::vector<std::uint32_t>& ids) {
  prepare(text, words);
  std::size_t count = 0;  // of batch_.ids
  for (std::size_t i = 0; i < words; ++i) {
    if (batch_.buckets[i] != kNotCached) {
      if (const WordCache::Entry* const entry = cache_.find(batch_.buckets[i], batch_.keys[i])) {
        count += WordCache::copy(*entry, batch_.ids.data() + count);
        continue;
      }
    }
    ids.insert(ids.end(), batch_.ids.begin(), batch_.ids.begin() + static_cast<std::ptrdiff_t>(count));
    count = 0;
    encode_new_word(text, i, ids);
  }
  ids.insert(ids.end(), batch_.ids.begin(), batch_.ids.begin() + static_cast<std::ptrdiff_t>(count));
}

void Encoder::encode_new_word(std::string_view text, std::size_t word, std::vector<std::uint32_t>& ids) {
  const std::size_t first = ids.size();
  merge_word(vocabulary_, text.substr(batch_.starts[word], batch_.starts[word + 1] - batch_.starts[word]), ids);
  const std::size_t count = ids.size() - first;
  if (batch_.buckets[word] == kNotCached || count > WordCache::kMostIds) return;
  cache_.insert(batch_.buckets[word], batch_.keys[word], std::span(ids).subspan(first));
}

}  // namespace kangpt::data
