#include "tests/data_pipeline/tokenizer/encoding_oracle.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdexcept>
#include <unordered_map>

namespace kangpt::test {

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code{nullptr, pcre2_code_free};
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match{nullptr, pcre2_match_data_free};
};

Pattern::Pattern(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr));
  if (!compiled->code) throw std::runtime_error("pattern does not compile: " + pattern);
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
  compiled->match.reset(pcre2_match_data_create_from_pattern(compiled->code.get(), nullptr));
  compiled_ = std::move(compiled);
}

std::vector<std::string_view> Pattern::matches(std::string_view text) const {
  std::vector<std::string_view> found;
  for (std::size_t position = 0; position < text.size();) {
    const int count = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  position, PCRE2_NO_UTF_CHECK, compiled_->match.get(), nullptr);
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) throw std::runtime_error("pcre2_match failed: " + std::to_string(count));
    const PCRE2_SIZE* const borders = pcre2_get_ovector_pointer(compiled_->match.get());
    found.push_back(text.substr(borders[0], borders[1] - borders[0]));
    position = borders[1];
  }
  return found;
}

std::string pcre2_unicode_version() {
  char version[64] = {};
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
  return version;
}

std::vector<std::uint32_t> merge_by_the_book(const data::Vocabulary& vocabulary, std::string_view word) {
  std::vector<std::uint32_t> ids;
  for (const char c : word) ids.push_back(vocabulary.token_of_byte(static_cast<unsigned char>(c)));
  while (true) {
    std::uint32_t best = data::Vocabulary::kNoToken;
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const std::uint32_t rank = vocabulary.rank_of(ids[i], ids[i + 1]);
      if (rank < best) {
        best = rank;
        where = i;
      }
    }
    if (best == data::Vocabulary::kNoToken) return ids;
    ids[where] = vocabulary.merges()[best].token;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

std::vector<std::uint32_t> encode_by_the_book(const data::Vocabulary& vocabulary, std::string_view text) {
  static const Pattern pattern(kGpt2Pattern);
  static std::unordered_map<std::string, std::vector<std::uint32_t>> known;
  std::vector<std::uint32_t> ids;
  for (const std::string_view word : pattern.matches(text)) {
    const auto [entry, is_new] = known.try_emplace(std::string(word));
    if (is_new) entry->second = merge_by_the_book(vocabulary, word);
    ids.insert(ids.end(), entry->second.begin(), entry->second.end());
  }
  return ids;
}

}  // namespace kangpt::test
