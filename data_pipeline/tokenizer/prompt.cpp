#include "data_pipeline/tokenizer/prompt.hpp"

#include "data_pipeline/tokenizer/encoder.hpp"

namespace kangpt::data {

namespace {

struct Found {
  std::size_t position = std::string_view::npos;
  std::uint32_t token = Vocabulary::kNoToken;
};

// The first special token in a text, the longest of those that begin there.
Found first_special(const Vocabulary& vocabulary, std::string_view text) {
  Found first;
  for (const std::uint32_t token : vocabulary.special_tokens()) {
    const std::string_view name = vocabulary.token_bytes(token);
    const std::size_t position = text.find(name);
    if (position == std::string_view::npos) continue;
    const bool longer = first.token != Vocabulary::kNoToken && name.size() > vocabulary.token_bytes(first.token).size();
    if (position < first.position || (position == first.position && longer)) first = {position, token};
  }
  return first;
}

}  // namespace

std::vector<std::int64_t> prompt_tokens(const Vocabulary& vocabulary, std::string_view prompt) {
  if (prompt.empty()) return {vocabulary.end_of_text()};
  Encoder encoder(vocabulary);
  std::vector<std::uint32_t> ids;
  while (true) {
    const Found special = first_special(vocabulary, prompt);
    encoder.encode(prompt.substr(0, special.position), ids);
    if (special.token == Vocabulary::kNoToken) break;
    ids.push_back(special.token);
    prompt.remove_prefix(special.position + vocabulary.token_bytes(special.token).size());
  }
  return {ids.begin(), ids.end()};
}

std::string_view prompt_text(const Vocabulary& vocabulary, std::string_view prompt) {
  const std::string_view separator = vocabulary.token_bytes(vocabulary.end_of_text());
  while (prompt.starts_with(separator)) prompt.remove_prefix(separator.size());
  return prompt;
}

std::string prompt_excess(std::size_t tokens, int window_tokens) {
  const auto window = static_cast<std::size_t>(window_tokens);
  if (tokens <= window) return "";
  return "has " + std::to_string(tokens) + " tokens, and the network sees " + std::to_string(window) +
         " at a time: the first " + std::to_string(tokens - window) + " have no influence on the text";
}

}  // namespace kangpt::data
