#include "data_pipeline/tokenizer/word_scanner.hpp"

#include <algorithm>
#include <bit>

#include "data_pipeline/tokenizer/word_splitter.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kangpt::data {

WordScanner::WordScanner(PaddedText text, Method method) noexcept
    : text_(text.text), scan_(method == Method::kScalar ? scan_scalar : best_scan()) {}

std::size_t WordScanner::scan_scalar(WordScanner& scanner, std::span<std::uint32_t> starts) noexcept {
  std::size_t count = 0;
  while (count < starts.size() && scanner.position_ < scanner.text_.size()) {
    starts[count++] = static_cast<std::uint32_t>(scanner.position_);
    scanner.position_ = word_end(scanner.text_, scanner.position_);
  }
  return count;
}

#if !defined(__x86_64__)

WordScanner::Scan WordScanner::best_scan() noexcept {
  return scan_scalar;
}

#else

WordScanner::Scan WordScanner::best_scan() noexcept {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") ? scan_avx2 : scan_scalar;
}

constexpr unsigned kBlockBits = WordScanner::kBlockBytes;

#define KANGPT_AVX2 __attribute__((target("avx2,bmi"), always_inline)) inline

// One block of 64 bytes as bit masks: bit i is byte i. All bytes of a character have the bit of its class, so that a
// run of characters of one class is a run of ones, and runs begin where a one follows a zero.
struct BlockScan {
  std::uint64_t letters = 0;
  std::uint64_t numbers = 0;
  std::uint64_t spaces = 0;
  std::uint64_t blanks = 0;  // U+0020
  std::uint64_t apostrophes = 0;
  std::uint64_t non_ascii = 0;
  std::uint64_t wide_last_spaces = 0;  // first byte of a white space of several bytes before a character that is none

  // Bytes of v, taken as unsigned, in [first, first + count). AVX2 compares signed bytes only, so the range is moved to
  // the lowest signed values, [-128, -128 + count), with wrap-around: one comparison instead of two.
  KANGPT_AVX2 static std::uint64_t in_range(__m256i v, int first, int count) noexcept {
    const __m256i shifted = _mm256_add_epi8(v, _mm256_set1_epi8(static_cast<char>(128 - first)));
    return static_cast<std::uint32_t>(
        _mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_set1_epi8(static_cast<char>(count - 128)), shifted)));
  }

  KANGPT_AVX2 static std::uint64_t equal(__m256i v, char c) noexcept {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(c))));
  }

  KANGPT_AVX2 void add_half(const char* data, int shift) noexcept {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
    const std::uint64_t blank = equal(v, ' ');
    letters |= in_range(_mm256_or_si256(v, _mm256_set1_epi8(0x20)), 'a', 26) << shift;  // 0x20: upper to lower case
    numbers |= in_range(v, '0', 10) << shift;
    spaces |= (in_range(v, '\t', 5) | blank) << shift;
    blanks |= blank << shift;
    apostrophes |= equal(v, '\'') << shift;
    non_ascii |= std::uint64_t{static_cast<std::uint32_t>(_mm256_movemask_epi8(v))} << shift;
  }

  void set_class(CharClass character_class, std::uint64_t bits) noexcept {
    if (character_class == CharClass::kLetter) letters |= bits;
    if (character_class == CharClass::kNumber) numbers |= bits;
    if (character_class == CharClass::kSpace) spaces |= bits;
  }

  // Gives the bytes that are not ASCII the classes of their characters, one character after the other: there are few in
  // most texts, and a look into the Unicode table can't be done 64 at a time.
  void resolve_non_ascii(WordScanner& scanner, std::uint64_t valid) noexcept {
    std::uint64_t rest = non_ascii & valid;
    const std::uint64_t continued = ((std::uint64_t{1} << scanner.open_bytes_) - 1) & valid;
    set_class(scanner.open_class_, continued);
    rest &= ~continued;
    scanner.open_bytes_ = 0;
    while (rest != 0) {
      const auto bit = static_cast<unsigned>(std::countr_zero(rest));
      const std::string_view here = scanner.text_.substr(scanner.position_ + bit);
      const Character character = decode_utf8(here);
      const unsigned length = std::max(1U, character.length_bytes);
      const CharClass found = character.length_bytes == 0 ? CharClass::kOther : class_of(character.code_point);
      const std::uint64_t bits = ((std::uint64_t{1} << length) - 1) << bit;
      set_class(found, bits);
      if (found == CharClass::kSpace && begins_other_than_space(here.substr(length)))
        wide_last_spaces |= std::uint64_t{1} << bit;
      rest &= ~bits;
      if (bit + length > kBlockBits) {
        scanner.open_class_ = found;
        scanner.open_bytes_ = bit + length - kBlockBits;
      }
    }
  }

  static bool begins_other_than_space(std::string_view text) noexcept {
    if (text.empty()) return false;
    if (static_cast<unsigned char>(text[0]) < 0x80) return text[0] != ' ' && (text[0] < '\t' || text[0] > '\r');
    const Character character = decode_utf8(text);
    return character.length_bytes == 0 || class_of(character.code_point) != CharClass::kSpace;
  }

  // Begins of words in this block, as GPT-2's pattern has them. `mask & ~(mask << 1)` is the first bit of each run of
  // ones; the bit that is shifted in says whether the run began in the block before.
  std::uint64_t starts(WordScanner& scanner, std::uint64_t valid) noexcept {
    const auto before = [&](CharClass character_class) -> std::uint64_t {
      return !scanner.begins_ && scanner.last_class_ == character_class ? 1 : 0;
    };
    letters &= valid;
    numbers &= valid;
    spaces &= valid;
    const std::uint64_t others = valid & ~(letters | numbers | spaces);
    const std::uint64_t after_blank = (blanks << 1) | (scanner.last_is_blank_ ? 1 : 0);
    const std::uint64_t other_starts = others & ~((others << 1) | before(CharClass::kOther));
    // A run of letters, numbers or others begins a word, unless a blank before it does.
    const std::uint64_t run_starts = (letters & ~((letters << 1) | before(CharClass::kLetter))) |
                                     (numbers & ~((numbers << 1) | before(CharClass::kNumber))) | other_starts;
    // White space begins one, and so does the last white space before something else: \s+(?!\S) gives it up, and it
    // becomes the blank before the next word, or, if it is no blank, a word of its own.
    const std::uint64_t space_starts = spaces & ~((spaces << 1) | before(CharClass::kSpace));
    const std::uint64_t next_is_other = begins_other_than_space(scanner.text_.substr(std::min(
                                            scanner.position_ + WordScanner::kBlockBytes, scanner.text_.size())))
                                            ? std::uint64_t{1} << 63
                                            : 0;
    const std::uint64_t last_spaces = spaces & ~non_ascii & (((valid & ~spaces) >> 1) | next_is_other);
    const std::uint64_t found = (run_starts & ~after_blank) | space_starts | last_spaces | wide_last_spaces;
    return apply_contractions(scanner, found, apostrophes & other_starts & ~after_blank) & valid;
  }

  // A contraction at a begin of a word takes the letters after the apostrophe, and a new word begins behind it. Masks
  // know only classes, so the text is looked at; apostrophes are rare enough. One near the end of the block reaches
  // into the next, which gets what is left of it by inside_contraction_ and after_contraction_.
  std::uint64_t apply_contractions(WordScanner& scanner, std::uint64_t found, std::uint64_t candidates) noexcept {
    std::uint64_t inside = scanner.inside_contraction_;
    std::uint64_t after = scanner.after_contraction_;
    scanner.inside_contraction_ = 0;
    scanner.after_contraction_ = 0;
    for (; candidates != 0; candidates &= candidates - 1) {
      const auto bit = static_cast<unsigned>(std::countr_zero(candidates));
      const auto length = static_cast<unsigned>(contraction_length(scanner.text_, scanner.position_ + bit));
      if (length == 0) continue;
      const std::uint64_t taken = (std::uint64_t{1} << length) - 2;  // without the apostrophe
      inside |= taken << bit;
      if (bit + length < WordScanner::kBlockBytes) {
        after |= std::uint64_t{1} << (bit + length);
        continue;
      }
      scanner.inside_contraction_ = taken >> (WordScanner::kBlockBytes - bit);
      scanner.after_contraction_ = std::uint64_t{1} << (bit + length - WordScanner::kBlockBytes);
    }
    return (found & ~inside) | after;
  }

  void hand_on(WordScanner& scanner) const noexcept {
    const std::uint64_t last = std::uint64_t{1} << 63;
    scanner.begins_ = false;
    scanner.last_is_blank_ = (blanks & last) != 0;
    scanner.last_class_ = (letters & last) != 0   ? CharClass::kLetter
                          : (numbers & last) != 0 ? CharClass::kNumber
                          : (spaces & last) != 0  ? CharClass::kSpace
                                                  : CharClass::kOther;
  }
};

__attribute__((target("avx2,bmi"))) std::size_t WordScanner::scan_avx2(WordScanner& scanner,
                                                                       std::span<std::uint32_t> starts) noexcept {
  std::size_t count = 0;
  while (scanner.position_ < scanner.text_.size() && count + kBlockBytes <= starts.size()) {
    const std::size_t left = scanner.text_.size() - scanner.position_;
    const std::uint64_t valid = left >= kBlockBytes ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
    BlockScan block;
    block.add_half(scanner.text_.data() + scanner.position_, 0);
    block.add_half(scanner.text_.data() + scanner.position_ + 32, 32);
    if ((block.non_ascii & valid) != 0 || scanner.open_bytes_ != 0) block.resolve_non_ascii(scanner, valid);
    for (std::uint64_t bits = block.starts(scanner, valid); bits != 0; bits &= bits - 1) {
      starts[count++] = static_cast<std::uint32_t>(scanner.position_ + static_cast<unsigned>(std::countr_zero(bits)));
    }
    block.hand_on(scanner);
    scanner.position_ += kBlockBytes;
  }
  return count;
}

#endif

}  // namespace kangpt::data
