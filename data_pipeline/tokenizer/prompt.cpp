#include "data_pipeline/tokenizer/prompt.hpp"

#include "data_pipeline/tokenizer/encoder.hpp"

namespace kangpt::data {

std::vector<std::int64_t> prompt_tokens(const Vocabulary& vocabulary, std::string_view prompt) {
  if (prompt.empty()) return {vocabulary.end_of_text()};
  const std::string_view separator = vocabulary.token_bytes(vocabulary.end_of_text());
  Encoder encoder(vocabulary);
  std::vector<std::uint32_t> ids;
  while (true) {
    const std::size_t end = prompt.find(separator);
    encoder.encode(prompt.substr(0, end), ids);
    if (end == std::string_view::npos) break;
    ids.push_back(vocabulary.end_of_text());
    prompt.remove_prefix(end + separator.size());
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
