// Finds where words begin, many at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "data_pipeline/tokenizer/unicode.hpp"

namespace kangpt::data {

// A text after whose end kPaddingBytes more bytes may be read (they may hold anything).
struct PaddedText {
  static constexpr std::size_t kPaddingBytes = 64;
  std::string_view text;  // less than 4 GiB
};

// Gives the begin of every word of one text in rising order; words are those of word_end(). Not thread-safe.
class WordScanner {
 public:
  enum class Method { kBest, kScalar };  // kBest: AVX2 where the processor has it

  explicit WordScanner(PaddedText text, Method method = Method::kBest) noexcept;

  // Writes the next begins to `starts`, which has room for more than kBlockBytes, and returns how many: 0 at the end of
  // the text only.
  std::size_t next(std::span<std::uint32_t> starts) noexcept { return scan_(*this, starts); }

  static constexpr std::size_t kBlockBytes = 64;

 private:
  using Scan = std::size_t (*)(WordScanner&, std::span<std::uint32_t>) noexcept;
  static std::size_t scan_scalar(WordScanner& scanner, std::span<std::uint32_t> starts) noexcept;
  static std::size_t scan_avx2(WordScanner& scanner, std::span<std::uint32_t> starts) noexcept;
  static Scan best_scan() noexcept;

  friend struct BlockScan;

  std::string_view text_;
  std::size_t position_ = 0;  // scalar: the next begin; else a multiple of kBlockBytes
  Scan scan_;

  // What the bytes before `position_` mean for those after it (AVX2 only).
  CharClass last_class_ = CharClass::kSpace;  // of the last byte's character; at the begin any class will do
  bool begins_ = true;                        // no byte came before
  bool last_is_blank_ = false;                // U+0020
  CharClass open_class_ = CharClass::kOther;  // of a character that the border divides,
  unsigned open_bytes_ = 0;                   // and how many of its bytes are still to come
  std::uint64_t inside_contraction_ = 0;      // bits of the next block: bytes that continue a contraction,
  std::uint64_t after_contraction_ = 0;       // and the byte after one
};

}  // namespace kangpt::data
