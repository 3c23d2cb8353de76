#include "config/field_value.hpp"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "base/error.hpp"
#include "base/format.hpp"
#include "message/message_fields.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::io::Tokenizer;
using Type = TokenStream::Type;

std::vector<std::string> enumerator_names(const FieldDescriptor& field) {
  std::vector<std::string> names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) names.push_back(field.enum_type()->value(i)->name());
  return names;
}

// One value of one field; read() is used once.
class ValueReader {
 public:
  ValueReader(TokenStream& tokens, Message& message, const FieldDescriptor& field)
      : tokens_(tokens), message_(message), reflection_(*message.GetReflection()), field_(field) {}

  std::string read() {
    negative_ = tokens_.take("-");
    switch (field_.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return read_int32();
      case FieldDescriptor::CPPTYPE_UINT64:
        return read_uint64();
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return read_double();
      case FieldDescriptor::CPPTYPE_BOOL:
        return read_bool();
      case FieldDescriptor::CPPTYPE_STRING:
        return read_string();
      case FieldDescriptor::CPPTYPE_ENUM:
        return read_enum();
      default:
        throw InternalError("the type of " + field_path(field_) + " is not supported");
    }
  }

 private:
  std::string needs_kind() const { return needs(value_kind(field_)); }

  std::string needs(const std::string& what) const {
    std::string found = describe(tokens_.current());
    if (negative_) found.insert(found.front() == '\'' ? 1 : 0, "-");
    return field_path(field_) + " needs " + what + ", found " + found;
  }

  // Sets the field or, if it is repeated, appends to it. "", since nothing is wrong.
  template <typename T>
  std::string store(const T& value) {
    constexpr message::FieldAccess<T> kAccess = message::field_access<T>();
    (reflection_.*(field_.is_repeated() ? kAccess.add : kAccess.set))(&message_, &field_, value);
    return "";
  }

  // Takes the magnitude of a whole number of at most `largest`.
  bool take_magnitude(std::uint64_t largest, std::uint64_t& magnitude) {
    if (!tokens_.at(Type::TYPE_INTEGER)) return false;
    if (!Tokenizer::ParseInteger(tokens_.current().text, largest, &magnitude)) return false;
    tokens_.next();
    return true;
  }

  std::string read_int32() {
    if (!tokens_.at(Type::TYPE_INTEGER)) return needs_kind();
    constexpr std::uint64_t kLargest = std::numeric_limits<std::int32_t>::max();
    std::uint64_t magnitude = 0;
    if (!take_magnitude(negative_ ? kLargest + 1 : kLargest, magnitude)) {
      return needs("a whole number from -2147483648 to 2147483647");
    }
    const auto wide = static_cast<std::int64_t>(magnitude);
    return store(static_cast<std::int32_t>(negative_ ? -wide : wide));
  }

  std::string read_uint64() {
    std::uint64_t magnitude = 0;
    if (negative_ || !tokens_.at(Type::TYPE_INTEGER)) return needs_kind();
    if (!take_magnitude(std::numeric_limits<std::uint64_t>::max(), magnitude)) {
      return needs("a whole number from 0 to 18446744073709551615");
    }
    return store(magnitude);
  }

  std::string read_double() {
    if (!tokens_.at(Type::TYPE_INTEGER) && !tokens_.at(Type::TYPE_FLOAT)) return needs_kind();
    // Not Tokenizer::ParseFloat(), which ends the program where a number is cut off, as "0x" is.
    const std::string& text = tokens_.current().text;
    char* end = nullptr;
    const double magnitude = std::strtod(text.c_str(), &end);
    if (end != text.c_str() + text.size()) return needs_kind();
    tokens_.next();
    return store(negative_ ? -magnitude : magnitude);
  }

  std::string read_bool() {
    const bool is_true = tokens_.current().text == "true";
    if (negative_ || (!is_true && tokens_.current().text != "false")) return needs_kind();
    tokens_.next();
    return store(is_true);
  }

  std::string read_string() {
    if (negative_ || !tokens_.at(Type::TYPE_STRING)) return needs_kind();
    std::string value;
    for (; tokens_.at(Type::TYPE_STRING); tokens_.next()) {
      Tokenizer::ParseStringAppend(tokens_.current().text, &value);
    }
    return store(value);
  }

  std::string read_enum() {
    if (negative_ || !tokens_.at(Type::TYPE_IDENTIFIER)) return needs_kind();
    const std::string& name = tokens_.current().text;
    const EnumValueDescriptor* const value = field_.enum_type()->FindValueByName(name);
    if (value == nullptr) {
      return unknown_name("value '" + name + "' for " + field_path(field_), name, enumerator_names(field_)).message;
    }
    tokens_.next();
    if (field_.is_repeated()) {
      reflection_.AddEnum(&message_, &field_, value);
    } else {
      reflection_.SetEnum(&message_, &field_, value);
    }
    return "";
  }

  TokenStream& tokens_;
  Message& message_;
  const google::protobuf::Reflection& reflection_;
  const FieldDescriptor& field_;
  bool negative_ = false;
};

// The shortest text that reads back to the same bits, with an exponent as people write it: 1e-4, not 1e-04.
std::string number_text(double value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), end);
  const std::size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  const std::size_t sign = exponent + 1;
  while (text[sign + 1] == '0') text.erase(sign + 1, 1);
  if (text[sign] == '+') text.erase(sign, 1);
  return text;
}

std::string map_characters(std::string text, int (*function)(int)) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [function](unsigned char character) { return static_cast<char>(function(character)); });
  return text;
}

}  // namespace

std::string read_value(TokenStream& tokens, Message& message, const FieldDescriptor& field) {
  return ValueReader(tokens, message, field).read();
}

std::string value_text(const Message& message, const FieldDescriptor& field, int index) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const Message& group = message.GetReflection()->GetRepeatedMessage(message, &field, index);
    std::string text = "{";
    for (int i = 0; i < group.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor& member = *group.GetDescriptor()->field(i);
      text += " " + member.name() + ": " + value_text(group, member);
    }
    return text + " }";
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    return number_text(field.is_repeated() ? reflection.GetRepeatedDouble(message, &field, index)
                                           : reflection.GetDouble(message, &field));
  }
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintFieldValueToString(message, &field, field.is_repeated() ? index : -1, &text);
  return text;
}

std::vector<std::string> value_texts(const Message& message, const FieldDescriptor& field) {
  const int count = field.is_repeated() ? message.GetReflection()->FieldSize(message, &field) : 1;
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back(value_text(message, field, i));
  return texts;
}

std::string value_kind(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return "a whole number";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number of 0 or more";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "one of " + base::join(enumerator_names(field), ", ");
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "fields in braces";
    default:
      return "a text in quotes";
  }
}

std::string field_path(const FieldDescriptor& field) {
  if (field.message_type() != nullptr && !field.is_repeated()) return field.name();
  std::string path = field.name();
  for (auto* type = field.containing_type(); type != nullptr; type = type->containing_type()) {
    path = map_characters(type->name(), std::tolower) + "." + path;
  }
  return path;
}

std::vector<std::string> field_names(const google::protobuf::Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

UnknownName unknown_name(const std::string& what, const std::string& name, const std::vector<std::string>& valid) {
  UnknownName result;
  for (const std::string& spelling : {name, map_characters(name, std::toupper), map_characters(name, std::tolower)}) {
    if (result.suggestion.empty()) result.suggestion = base::closest_name(spelling, valid);
  }
  const std::string list = base::join(valid, ", ");
  result.message = "unknown " + what;
  result.message +=
      result.suggestion.empty() ? "; valid: " + list : "; did you mean '" + result.suggestion + "'? Valid: " + list;
  return result;
}

}  // namespace kangpt::config
