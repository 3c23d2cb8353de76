#include "data_pipeline/tokenizer/vocabulary.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/paths.hpp"
#include "data_pipeline/tokenizer/encoder.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"

namespace kangpt::data {
namespace {

constexpr const char* kKeptNames[] = {"tokenizer.json", "vocab.bpe", "vocab.tiktoken"};

std::size_t word_hash(std::string_view word) noexcept {
  return base::xxh3(std::as_bytes(std::span(word)));
}

}  // namespace

Vocabulary Vocabulary::load(const fs::path& file) {
  ReadVocabulary read = read_vocabulary(file);
  return {std::move(read.parts), std::move(read.file)};
}

Vocabulary::Vocabulary(VocabularyParts parts, VocabularyFile file)
    : special_(std::move(parts.special)),
      end_of_text_(parts.end_of_text),
      merges_(std::move(parts.merges)),
      file_(std::move(file)),
      sha256_(base::sha256_hex(std::as_bytes(std::span(file_.content)))) {
  offsets_.push_back(0);
  for (const std::string& token : parts.tokens) {
    if (token.size() == 1 && !is_special(size())) token_of_byte_[static_cast<unsigned char>(token[0])] = size();
    bytes_ += token;
    offsets_.push_back(bytes_.size());
  }
  if (parts.merging == Merging::kByRank) find_implied_merges();
  index_merges();
  if (parts.merging != Merging::kListed) insert_words();
}

void Vocabulary::index_merges() {
  slots_.assign(std::bit_ceil(2 * merges_.size() + 1), {});
  slot_mask_ = slots_.size() - 1;
  for (std::size_t rank = 0; rank < merges_.size(); ++rank)
    insert_slot(merges_[rank], static_cast<std::uint32_t>(rank));
}

void Vocabulary::insert_slot(const TokenMerge& merge, std::uint32_t rank) {
  const std::uint64_t key = (std::uint64_t{merge.left} << 32) | merge.right;
  std::uint64_t slot = hash(key);
  while (slots_[slot & slot_mask_].rank != kNoToken) ++slot;
  slots_[slot & slot_mask_] = {key, rank};
}

// tiktoken merges any two neighbours that spell a token. Before the bytes of a token become one they are two tokens,
// and always the same two: what merges within those bytes takes place in the same order whatever stands around them. So
// one merge says all of a token. It depends on the merges of shorter tokens only, which is the order to find them in.
void Vocabulary::find_implied_merges() {
  std::vector<std::uint32_t> by_length(size());
  std::iota(by_length.begin(), by_length.end(), 0);
  std::erase_if(by_length, [this](std::uint32_t id) { return is_special(id) || token_bytes(id).size() < 2; });
  std::stable_sort(by_length.begin(), by_length.end(),
                   [this](std::uint32_t a, std::uint32_t b) { return token_bytes(a).size() < token_bytes(b).size(); });
  // Until all are found, the id is the rank.
  merges_.assign(size(), {kNoToken, kNoToken, kNoToken});
  slots_.assign(std::bit_ceil(2 * merges_.size() + 1), {});
  slot_mask_ = slots_.size() - 1;
  for (const std::uint32_t id : by_length) {
    std::vector<std::uint32_t> parts;
    merge_word(*this, token_bytes(id), parts);
    if (parts.size() != 2) continue;
    merges_[id] = {parts[0], parts[1], id};
    insert_slot(merges_[id], id);
  }
  std::erase_if(merges_, [](const TokenMerge& merge) { return merge.token == kNoToken; });
}

void Vocabulary::insert_words() {
  words_.assign(std::bit_ceil(std::size_t{2} * size()), kNoToken);
  const std::size_t mask = words_.size() - 1;
  for (std::uint32_t id = 0; id < size(); ++id) {
    if (is_special(id)) continue;
    std::size_t slot = word_hash(token_bytes(id));
    while (words_[slot & mask] != kNoToken) ++slot;
    words_[slot & mask] = id;
  }
}

bool Vocabulary::is_special(std::uint32_t id) const noexcept {
  return std::binary_search(special_.begin(), special_.end(), id);
}

std::uint32_t Vocabulary::token_of_word(std::string_view word) const noexcept {
  if (words_.empty()) return kNoToken;
  const std::size_t mask = words_.size() - 1;
  for (std::size_t slot = word_hash(word);; ++slot) {
    const std::uint32_t id = words_[slot & mask];
    if (id == kNoToken || token_bytes(id) == word) return id;
  }
}

std::string_view Vocabulary::token_bytes(std::uint32_t id) const {
  if (id >= size()) {
    throw DataError("token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(size()) +
                    " tokens");
  }
  return std::string_view(bytes_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
}

std::string Vocabulary::decode(std::span<const std::int64_t> ids) const {
  std::string text;
  for (const std::int64_t id : ids)
    text += token_bytes(id < 0 || id > kNoToken ? kNoToken : static_cast<std::uint32_t>(id));
  return text;
}

fs::path vocabulary_in(const fs::path& folder) {
  for (const char* const name : {"tokenizer.json", "vocab.json", "vocab.bpe", "merges.txt", "vocab.tiktoken"})
    if (fs::exists(folder / name)) return folder / name;
  return {};
}

std::optional<Vocabulary> kept_vocabulary(const fs::path& folder, const std::string& sha256) {
  for (const char* const name : kKeptNames) {
    const fs::path file = folder / name;
    if (fs::is_regular_file(file) && base::sha256_file(file) == sha256) return Vocabulary::load(file);
  }
  return std::nullopt;
}

void keep_vocabulary(const Vocabulary& vocabulary, const fs::path& folder, OtherVocabularies others) {
  base::write_file_atomically(folder / vocabulary.file().name, vocabulary.file().content);
  if (others == OtherVocabularies::kLeave) return;
  for (const std::string name : kKeptNames) {
    std::error_code ignored;
    if (name != vocabulary.file().name) fs::remove(folder / name, ignored);
  }
}

namespace {

fs::path gpt2_file() {
  const fs::path name = fs::path("gpt2") / "vocab.bpe";
  const fs::path shared = base::shared_directory();
  return !shared.empty() && fs::exists(shared / name) ? shared / name : base::cache_directory() / name;
}

}  // namespace

fs::path gpt2_vocabulary() {
  try {
    return gpt2_file();
  } catch (const Error&) {
    return {};
  }
}

fs::path find_vocabulary(const std::string& given, const std::vector<fs::path>& folders) {
  if (!given.empty()) {
    if (!fs::exists(given)) throw MissingInputError("vocabulary file " + given + " does not exist");
    return given;
  }
  for (const fs::path& folder : folders)
    if (const fs::path file = vocabulary_in(folder); !file.empty()) return file;
  const fs::path file = gpt2_file();
  if (!fs::exists(file)) {
    throw MissingInputError(
        "the GPT-2 vocabulary " + file.string() +
        " is missing.\nMake it with: make setup (in the project's folder); or name a file with --vocabulary FILE");
  }
  return file;
}

}  // namespace kangpt::data
