#include "config/token_stream.hpp"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace kangpt::config {
namespace {

class Collector : public google::protobuf::io::ErrorCollector {
 public:
  explicit Collector(std::vector<TextError>& errors) : errors_(errors) {}
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (errors_.size() < kMaxTextErrors) errors_.push_back({line + 1, column + 1, message, ""});
  }

 private:
  std::vector<TextError>& errors_;
};

}  // namespace

TokenStream::TokenStream(std::string_view text, std::vector<TextError>& errors) {
  google::protobuf::io::ArrayInputStream input(text.data(), static_cast<int>(text.size()));
  Collector collector(errors);
  google::protobuf::io::Tokenizer tokenizer(&input, &collector);
  tokenizer.set_comment_style(google::protobuf::io::Tokenizer::SH_COMMENT_STYLE);
  while (tokenizer.Next()) tokens_.push_back(tokenizer.current());
  tokens_.push_back(tokenizer.current());
}

bool TokenStream::take(std::string_view symbol) {
  if (!at_symbol(symbol)) return false;
  next();
  return true;
}

void TokenStream::skip_value() {
  take("-");
  if (at_opening()) return skip_group();
  if (at_closing()) return;
  while (at(Type::TYPE_STRING) && following().type == Type::TYPE_STRING) next();
  next();
}

void TokenStream::skip_group() {
  std::size_t depth = 0;
  do {
    if (at_opening()) ++depth;
    if (at_closing()) --depth;
    next();
  } while (depth > 0 && !at_end());
}

std::string describe(const TokenStream::Token& token) {
  constexpr std::size_t kLongest = 40;
  if (token.type == TokenStream::Type::TYPE_END) return "the end of the text";
  const std::string text = token.text.size() <= kLongest ? token.text : token.text.substr(0, kLongest) + "...";
  return token.type == TokenStream::Type::TYPE_STRING ? text : "'" + text + "'";
}

}  // namespace kangpt::config
