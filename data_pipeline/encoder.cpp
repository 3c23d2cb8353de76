#include "data_pipeline/encoder.hpp"

#include <algorithm>
#include <cstring>

#include "data_pipeline/word_splitter.hpp"

namespace kangpt::data {
namespace {

constexpr std::size_t kCacheWords = std::size_t{1} << 16;

std::uint64_t hash_word(std::string_view word) noexcept {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  std::memcpy(&low, word.data(), std::min<std::size_t>(word.size(), 8));
  if (word.size() > 8) std::memcpy(&high, word.data() + word.size() - 8, 8);
  const std::uint64_t mixed = (low ^ (high * 0x9E3779B97F4A7C15U) ^ word.size()) * 0xD6E8FEB86659FD93U;
  return mixed ^ (mixed >> 32);
}

}  // namespace

Encoder::Encoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary), cache_(kCacheWords) {}

void Encoder::encode(std::string_view text, std::vector<std::uint32_t>& ids) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = word_end(text, begin);
    encode_word(text.substr(begin, end - begin), ids);
    begin = end;
  }
}

void Encoder::encode_word(std::string_view word, std::vector<std::uint32_t>& ids) {
  CachedWord& cached = cache_[hash_word(word) & (kCacheWords - 1)];
  if (word.size() == cached.length && std::memcmp(word.data(), cached.bytes.data(), word.size()) == 0) {
    ids.insert(ids.end(), cached.ids.begin(), cached.ids.begin() + cached.count);
    return;
  }
  const std::size_t first = ids.size();
  merge_word(vocabulary_, word, ids);
  const std::size_t count = ids.size() - first;
  if (word.size() > cached.bytes.size() || count > cached.ids.size()) return;
  cached.length = static_cast<std::uint8_t>(word.size());
  std::memcpy(cached.bytes.data(), word.data(), word.size());
  cached.count = static_cast<std::uint32_t>(count);
  std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(first), count, cached.ids.begin());
}

}  // namespace kangpt::data
