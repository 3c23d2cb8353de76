#include "data_pipeline/tokenizer/vocabulary.hpp"

#include <bit>
#include <optional>
#include <unordered_map>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/paths.hpp"
#include "data_pipeline/tokenizer/unicode.hpp"

namespace kangpt::data {
namespace {

constexpr std::uint32_t kMaximumTokens = 1U << 20;
constexpr std::string_view kEndOfText = "<|endoftext|>";

// GPT-2 writes each byte as a printable character: itself, or U+0100 upwards for the 68 bytes that are not printable.
// Ids follow this order too: the printable bytes first.
struct ByteOrder {
  std::array<std::uint8_t, 256> bytes{};  // in id order
  std::unordered_map<std::uint32_t, std::uint8_t> byte_of_character;
};

ByteOrder gpt2_byte_order() {
  const auto printable = [](unsigned byte) { return (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173); };
  ByteOrder order;
  std::size_t id = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!printable(byte)) continue;
    order.bytes[id++] = static_cast<std::uint8_t>(byte);
    order.byte_of_character[byte] = static_cast<std::uint8_t>(byte);
  }
  for (unsigned byte = 0, character = 256; byte < 256; ++byte) {
    if (printable(byte)) continue;
    order.bytes[id++] = static_cast<std::uint8_t>(byte);
    order.byte_of_character[character++] = static_cast<std::uint8_t>(byte);
  }
  return order;
}

std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (const char c : text) {
    static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>((bits >> count) & 0xFFU);
  }
  return bytes;
}

std::size_t word_hash(std::string_view word) noexcept {
  return base::xxh3(std::as_bytes(std::span(word)));
}

}  // namespace

// Reads one file into a Vocabulary; knows line numbers for messages.
class VocabularyReader {
 public:
  explicit VocabularyReader(const fs::path& file) : file_(file), content_(base::read_file(file)) {
    result_.sha256_ = base::sha256_hex(std::as_bytes(std::span(content_)));
    result_.offsets_.push_back(0);
  }

  Vocabulary read() {
    if (file_.extension() == ".tiktoken") {
      read_tiktoken();
    } else {
      read_merges();
    }
    append_token(kEndOfText);
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw DataError(file_.string() + ":" + std::to_string(line_number_) + ": " + problem +
                    " (expected GPT-2's vocab.bpe, a merges.txt or a .tiktoken file)");
  }

  // The next line that is not empty, without its end; false at the end of the file.
  bool next_line(std::string_view& line) {
    while (position_ < content_.size()) {
      const std::size_t end = std::min(content_.find('\n', position_), content_.size());
      line = std::string_view(content_).substr(position_, end - position_);
      position_ = end + 1;
      ++line_number_;
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (!line.empty()) return true;
    }
    return false;
  }

  void append_token(std::string_view bytes) {
    if (result_.offsets_.size() > kMaximumTokens) fail("more than " + std::to_string(kMaximumTokens) + " tokens");
    id_of_bytes_[std::string(bytes)] = result_.size();
    result_.bytes_ += bytes;
    result_.offsets_.push_back(result_.bytes_.size());
  }

  std::pair<std::string_view, std::string_view> two_fields(std::string_view line) const {
    const std::size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      fail("expected two fields with one space between them");
    }
    return {line.substr(0, space), line.substr(space + 1)};
  }

  void read_merges() {
    const ByteOrder order = gpt2_byte_order();
    for (std::size_t id = 0; id < 256; ++id) {
      result_.token_of_byte_[order.bytes[id]] = static_cast<std::uint32_t>(id);
      append_token(std::string(1, static_cast<char>(order.bytes[id])));
    }
    struct Pair {
      std::uint32_t left, right;
    };
    std::vector<Pair> pairs;
    for (std::string_view line; next_line(line);) {
      if (line_number_ == 1 && line.starts_with("#version")) continue;
      const auto [left, right] = two_fields(line);
      const std::string left_bytes = bytes_of_characters(left, order);
      const std::string right_bytes = bytes_of_characters(right, order);
      pairs.push_back({known_token(left_bytes, left), known_token(right_bytes, right)});
      if (id_of_bytes_.contains(left_bytes + right_bytes)) fail("this merge makes a token that there is already");
      append_token(left_bytes + right_bytes);
    }
    if (pairs.empty()) fail("no merges");
    reserve_merges(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i)
      insert_merge(pairs[i].left, pairs[i].right, static_cast<std::uint32_t>(256 + i));
  }

  std::string bytes_of_characters(std::string_view text, const ByteOrder& order) const {
    std::string bytes;
    while (!text.empty()) {
      const Character character = decode_utf8(text);
      const auto byte = order.byte_of_character.find(character.code_point);
      if (character.length_bytes == 0 || byte == order.byte_of_character.end())
        fail("a character that stands for no byte");
      bytes += static_cast<char>(byte->second);
      text.remove_prefix(character.length_bytes);
    }
    return bytes;
  }

  std::uint32_t known_token(const std::string& bytes, std::string_view name) const {
    const auto found = id_of_bytes_.find(bytes);
    if (found == id_of_bytes_.end()) fail("'" + std::string(name) + "' is not a token yet");
    return found->second;
  }

  // A .tiktoken file names tokens, not pairs: whatever two neighbours spell a token merge into it.
  void read_tiktoken() {
    for (std::string_view line; next_line(line);) {
      const auto [encoded, rank] = two_fields(line);
      const auto bytes = decode_base64(encoded);
      if (!bytes || bytes->empty()) fail("the first field is not base64");
      if (rank != std::to_string(result_.size())) fail("expected rank " + std::to_string(result_.size()));
      if (id_of_bytes_.contains(*bytes)) fail("the token stands there twice");
      append_token(*bytes);
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto found = id_of_bytes_.find(std::string(1, static_cast<char>(byte)));
      if (found == id_of_bytes_.end()) fail("no token for byte " + std::to_string(byte));
      result_.token_of_byte_[byte] = found->second;
    }
    reserve_merges(result_.bytes_.size());
    for (std::uint32_t id = 0; id < result_.size(); ++id) insert_all_splits(id);
    insert_words();
  }

  void insert_words() {
    result_.words_.assign(std::bit_ceil(std::size_t{2} * result_.size()), Vocabulary::kNoToken);
    const std::size_t mask = result_.words_.size() - 1;
    for (std::uint32_t id = 0; id < result_.size(); ++id) {
      std::size_t slot = word_hash(result_.token_bytes(id));
      while (result_.words_[slot & mask] != Vocabulary::kNoToken) ++slot;
      result_.words_[slot & mask] = id;
    }
  }

  void insert_all_splits(std::uint32_t id) {
    const std::string_view bytes = result_.token_bytes(id);
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = id_of_bytes_.find(std::string(bytes.substr(0, cut)));
      const auto right = id_of_bytes_.find(std::string(bytes.substr(cut)));
      if (left != id_of_bytes_.end() && right != id_of_bytes_.end()) insert_merge(left->second, right->second, id);
    }
  }

  void reserve_merges(std::size_t count) {
    result_.merges_.resize(std::bit_ceil(2 * count));
    result_.slot_mask_ = result_.merges_.size() - 1;
  }

  void insert_merge(std::uint32_t left, std::uint32_t right, std::uint32_t token) {
    const std::uint64_t key = (std::uint64_t{left} << 32) | right;
    std::uint64_t slot = Vocabulary::hash(key);
    while (result_.merges_[slot & result_.slot_mask_].token != Vocabulary::kNoToken) ++slot;
    result_.merges_[slot & result_.slot_mask_] = {key, token};
  }

  fs::path file_;
  std::string content_;
  std::size_t position_ = 0;
  std::size_t line_number_ = 0;
  std::unordered_map<std::string, std::uint32_t> id_of_bytes_;
  Vocabulary result_;
};

Vocabulary Vocabulary::load(const fs::path& file) {
  return VocabularyReader(file).read();
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

fs::path find_vocabulary(const std::string& given) {
  if (!given.empty()) {
    if (!fs::exists(given)) throw MissingInputError("vocabulary file " + given + " does not exist");
    return given;
  }
  const fs::path name = fs::path("gpt2") / "vocab.bpe";
  if (const fs::path shared = base::shared_directory(); !shared.empty() && fs::exists(shared / name))
    return shared / name;
  const fs::path file = base::cache_directory() / name;
  if (!fs::exists(file)) {
    throw MissingInputError(
        "the GPT-2 vocabulary " + file.string() +
        " is missing.\nMake it with: make setup (in the project's folder); or name a file with --vocabulary FILE");
  }
  return file;
}

}  // namespace kangpt::data
