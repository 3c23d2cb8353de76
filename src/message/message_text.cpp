#include "message/message_text.hpp"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <optional>

#include "base/error.hpp"
#include "base/seal.hpp"

namespace kangpt::message {
namespace {

using google::protobuf::TextFormat;

// Deeper than any manifest; a text can't make the parser run out of stack.
constexpr int kDeepestNesting = 4;

// Keeps the first error, as LINE:COLUMN: message.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (text_.empty()) text_ = std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + message;
  }
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

}  // namespace

std::string sealed_text(const google::protobuf::Message& message) {
  TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  std::string body;
  if (!printer.PrintToString(message, &body)) throw InternalError("the manifest could not be printed");
  return base::sealed(body);
}

std::string read_sealed_text(std::string_view text, google::protobuf::Message& message) {
  const std::optional<std::string_view> body = base::unseal(text);
  if (!body) return ": the last line is not the digest of those before it: cut off or changed";
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kDeepestNesting);
  return parser.ParseFromString(std::string(*body), &message) ? "" : ":" + error.text();
}

}  // namespace kangpt::message
