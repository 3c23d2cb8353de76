#include "data_pipeline/tokenizer/vocabulary_files.hpp"

#include <optional>
#include <unordered_map>

#include "base/error.hpp"
#include "base/file.hpp"
#include "data_pipeline/tokenizer/byte_characters.hpp"

namespace kangpt::data {
namespace {

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

// Tokens in the order of their ids, each once.
class TokenList {
 public:
  explicit TokenList(const TwoFieldLines& lines) : lines_(lines) {}

  bool contains(const std::string& bytes) const { return id_of_bytes_.contains(bytes); }
  std::uint32_t size() const { return static_cast<std::uint32_t>(tokens_.size()); }

  void append(std::string bytes) {
    if (tokens_.size() >= kMaximumTokens) lines_.fail("more than " + std::to_string(kMaximumTokens) + " tokens");
    id_of_bytes_[bytes] = size();
    tokens_.push_back(std::move(bytes));
  }
  // kNoToken if there is none.
  std::uint32_t find(const std::string& bytes) const {
    const auto found = id_of_bytes_.find(bytes);
    return found == id_of_bytes_.end() ? Vocabulary::kNoToken : found->second;
  }
  // With <|endoftext|> after all others.
  VocabularyParts finish() && {
    const std::uint32_t end = size();
    tokens_.emplace_back(kEndOfText);
    return {.tokens = std::move(tokens_), .merges = {}, .special = {end}, .end_of_text = end};
  }

 private:
  const TwoFieldLines& lines_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::uint32_t> id_of_bytes_;
};

std::string bytes_of_name(const TwoFieldLines& lines, std::string_view name) {
  std::optional<std::string> bytes = bytes_of_characters(name);
  if (!bytes) lines.fail("a character that stands for no byte");
  return std::move(*bytes);
}

std::uint32_t known_token(const TwoFieldLines& lines, const TokenList& tokens, std::string_view name) {
  const std::uint32_t id = tokens.find(bytes_of_name(lines, name));
  if (id == Vocabulary::kNoToken) lines.fail("'" + std::string(name) + "' is not a token yet");
  return id;
}

bool is_merges_file(const fs::path& file) {
  return file.extension() == ".txt" && file.stem().string().ends_with("merges");
}

// merges.txt for vocab.json and the other way round, also where a model's name stands before both.
fs::path other_of_pair(const fs::path& file) {
  const auto exchange = [&](std::string_view from, std::string_view to, const char* extension) {
    const std::string stem = file.stem().string();
    if (!stem.ends_with(from)) return fs::path();
    return file.parent_path() / (stem.substr(0, stem.size() - from.size()) + std::string(to) + extension);
  };
  return is_merges_file(file) ? exchange("merges", "vocab", ".json") : exchange("vocab", "merges", ".txt");
}

ReadVocabulary read_vocab_json(const fs::path& file, const std::string& ids) {
  const fs::path merges_file = other_of_pair(file);
  if (merges_file.empty() || !fs::exists(merges_file)) {
    throw MissingInputError(file.string() + " is no tokenizer.json; as a vocab.json it needs " +
                            (merges_file.empty() ? "the merges.txt that belongs to it" : merges_file.string()) +
                            " beside it");
  }
  const std::string merges = base::read_file(merges_file);
  VocabularyParts parts = read_pair({file, ids, merges_file, merges});
  std::string whole = tokenizer_json(parts);
  return {std::move(parts), {"tokenizer.json", std::move(whole)}};
}

// Alone, merges.txt says which ids GPT-2 would give. A vocab.json beside it that gives others is not overruled.
void check_ids_beside(const fs::path& file, const std::string& merges, const VocabularyParts& parts) {
  const fs::path ids_file = is_merges_file(file) ? other_of_pair(file) : fs::path();
  if (ids_file.empty() || !fs::exists(ids_file)) return;
  const std::string ids = base::read_file(ids_file);
  const VocabularyParts pair = read_pair({ids_file, ids, file, merges});
  if (pair.tokens == parts.tokens) return;
  throw DataError(ids_file.string() + " gives other ids to the tokens of " + file.string() +
                  " than GPT-2's order; name the former, and both are read");
}

}  // namespace

bool TwoFieldLines::next() {
  while (position_ < content_.size()) {
    const std::size_t end = std::min(content_.find('\n', position_), content_.size());
    line_ = content_.substr(position_, end - position_);
    position_ = end + 1;
    ++line_number_;
    if (!line_.empty() && line_.back() == '\r') line_.remove_suffix(1);
    if (line_number_ == 1 && line_.starts_with("#version")) continue;
    if (!line_.empty()) return true;
  }
  return false;
}

TwoFieldLines::Fields TwoFieldLines::fields() const {
  const std::size_t space = line_.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line_.size() ||
      line_.find(' ', space + 1) != std::string_view::npos) {
    fail("expected two fields with one space between them");
  }
  return {line_.substr(0, space), line_.substr(space + 1)};
}

void TwoFieldLines::fail(const std::string& problem) const {
  throw DataError(file_.string() + ":" + std::to_string(line_number_) + ": " + problem +
                  " (expected GPT-2's vocab.bpe, a merges.txt, a .tiktoken file or a tokenizer.json)");
}

VocabularyParts read_merges(const fs::path& file, std::string_view content) {
  TwoFieldLines lines(file, content);
  TokenList tokens(lines);
  for (const std::uint8_t byte : bytes_by_character()) tokens.append(std::string(1, static_cast<char>(byte)));
  std::vector<TokenMerge> merges;
  while (lines.next()) {
    const auto [left, right] = lines.fields();
    std::string both = bytes_of_name(lines, left) + bytes_of_name(lines, right);
    merges.push_back({known_token(lines, tokens, left), known_token(lines, tokens, right), tokens.size()});
    if (tokens.contains(both)) lines.fail("this merge makes a token that there is already");
    tokens.append(std::move(both));
  }
  if (merges.empty()) lines.fail("no merges");
  VocabularyParts parts = std::move(tokens).finish();
  parts.merges = std::move(merges);
  return parts;
}

// A .tiktoken file names tokens, not pairs: whatever two neighbours spell a token merge into it.
VocabularyParts read_tiktoken(const fs::path& file, std::string_view content) {
  TwoFieldLines lines(file, content);
  TokenList tokens(lines);
  while (lines.next()) {
    const auto [encoded, rank] = lines.fields();
    std::optional<std::string> bytes = decode_base64(encoded);
    if (!bytes || bytes->empty()) lines.fail("the first field is not base64");
    if (rank != std::to_string(tokens.size())) lines.fail("expected rank " + std::to_string(tokens.size()));
    if (tokens.contains(*bytes)) lines.fail("the token stands there twice");
    tokens.append(std::move(*bytes));
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!tokens.contains(std::string(1, static_cast<char>(byte))))
      lines.fail("no token for byte " + std::to_string(byte));
  }
  VocabularyParts parts = std::move(tokens).finish();
  parts.merging = Merging::kByRank;
  return parts;
}

std::string merges_text(const Vocabulary& vocabulary) {
  std::string text = "#version: 0.2\n";
  for (const TokenMerge& merge : vocabulary.merges()) {
    text += characters_of_bytes(vocabulary.token_bytes(merge.left)) + " " +
            characters_of_bytes(vocabulary.token_bytes(merge.right)) + "\n";
  }
  return text;
}

ReadVocabulary read_vocabulary(const fs::path& given) {
  const fs::path file = fs::is_directory(given) ? vocabulary_in(given) : given;
  if (file.empty()) {
    throw MissingInputError(
        "the folder " + given.string() +
        " holds no vocabulary: tokenizer.json, vocab.json with merges.txt, vocab.bpe or vocab.tiktoken");
  }
  std::string content = base::read_file(file);
  if (file.extension() == ".tiktoken") {
    VocabularyParts parts = read_tiktoken(file, content);
    return {std::move(parts), {"vocab.tiktoken", std::move(content)}};
  }
  if (file.extension() != ".json") {
    VocabularyParts parts = read_merges(file, content);
    check_ids_beside(file, content, parts);
    return {std::move(parts), {"vocab.bpe", std::move(content)}};
  }
  if (file.stem().string().ends_with("vocab")) return read_vocab_json(file, content);
  VocabularyParts parts = read_tokenizer_json(file, content);
  return {std::move(parts), {"tokenizer.json", std::move(content)}};
}

}  // namespace kangpt::data
