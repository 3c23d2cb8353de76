// The tokens of a text in protobuf text format, with look-ahead and skipping.
#pragma once

#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::config {

struct TextError {
  int line = 0;    // from 1
  int column = 0;  // from 1; a tab reaches to the next multiple of 8
  std::string message;
  std::string field;  // the field or section meant, as far as it is known: "train.steps", "train"
};

// A text longer than this is no configuration.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 20;
// Errors of one text that are worth listing.
inline constexpr std::size_t kMaxTextErrors = 50;

// Splits a text at once and then walks along its tokens. What can't be a token goes to `errors`. Owns the tokens only.
// REQUIRES: at most kMaxTextBytes.
class TokenStream {
 public:
  using Token = google::protobuf::io::Tokenizer::Token;
  using Type = google::protobuf::io::Tokenizer::TokenType;

  TokenStream(std::string_view text, std::vector<TextError>& errors);

  const Token& current() const { return tokens_[position_]; }
  const Token& following() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void next() { position_ = std::min(position_ + 1, tokens_.size() - 1); }

  bool at(Type type) const { return current().type == type; }
  bool at_end() const { return at(Type::TYPE_END); }
  bool at_symbol(std::string_view symbol) const { return at(Type::TYPE_SYMBOL) && current().text == symbol; }
  bool at_opening() const { return at_symbol("{") || at_symbol("<") || at_symbol("["); }
  bool at_closing() const { return at_symbol("}") || at_symbol(">") || at_symbol("]"); }
  // Steps over `symbol` if it is the current token.
  bool take(std::string_view symbol);

  // Steps over one value of any kind: a number, texts beside each other, a bracketed group.
  void skip_value();

 private:
  void skip_group();
  std::vector<Token> tokens_;  // the last one is TYPE_END
  std::size_t position_ = 0;
};

// A token for a message: 'abc', "a text", the end of the text. Long ones are cut.
std::string describe(const TokenStream::Token& token);

}  // namespace kangpt::config
