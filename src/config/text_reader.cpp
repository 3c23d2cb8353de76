#include "config/text_reader.hpp"

#include <algorithm>
#include <tuple>

#include "config/field_value.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Token = TokenStream::Token;
using Type = TokenStream::Type;

class TextReader {
 public:
  TextReader(std::string_view text, Message& root) : tokens_(text, result_.errors), root_(root) {}

  TextFields read() {
    while (!tokens_.at_end()) read_top_level();
    return take_result();
  }

  // Nothing but values of `field`: groups with or without commas between them, or one list of them.
  TextFields read_groups(Message& message, const FieldDescriptor& field) {
    if (tokens_.take("[")) {
      read_list(message, field);
    } else {
      while (!tokens_.at_end() && !tokens_.at_closing()) {
        if (!tokens_.take(",")) read_element(message, field);
      }
    }
    if (!tokens_.at_end()) add_error(tokens_.current(), "unexpected " + describe(tokens_.current()), field_path(field));
    return take_result();
  }

 private:
  TextFields take_result() {
    std::stable_sort(result_.errors.begin(), result_.errors.end(), [](const TextError& a, const TextError& b) {
      return std::tie(a.line, a.column) < std::tie(b.line, b.column);
    });
    return std::move(result_);
  }

  void add_error(const Token& token, const std::string& message, const std::string& field = "") {
    if (result_.errors.size() >= kMaxTextErrors) return;
    result_.errors.push_back({token.line + 1, token.column + 1, message, field});
  }

  const FieldDescriptor* section_named(const std::string& name) const {
    return root_.GetDescriptor()->FindFieldByName(name);
  }

  void read_top_level() {
    if (tokens_.take(";") || tokens_.take(",")) return;
    const Token name = tokens_.current();
    if (!tokens_.at(Type::TYPE_IDENTIFIER)) {
      add_error(name, "expected the name of a section, found " + describe(name));
      return skip_to_name();
    }
    tokens_.next();
    const FieldDescriptor* const section = section_named(name.text);
    if (section == nullptr) return skip_unknown_section(name);
    tokens_.take(":");
    if (!tokens_.at_symbol("{") && !tokens_.at_symbol("<")) {
      add_error(tokens_.current(), "section '" + name.text + "' needs fields in braces: " + name.text + " { ... }");
      if (!next_is_name()) tokens_.skip_value();
      return;
    }
    read_section(name, *section);
  }

  void skip_unknown_section(const Token& name) {
    UnknownName unknown = unknown_name("section '" + name.text + "'", name.text, field_names(*root_.GetDescriptor()));
    const std::string home = section_of_field(name.text);
    if (!home.empty())
      unknown = {"'" + name.text + "' is a field of section '" + home + "': " + home + " { ... }", home};
    add_error(name, unknown.message, unknown.suggestion);
    tokens_.take(":");
    tokens_.skip_value();
  }

  // The section that has a field of this name, or "".
  std::string section_of_field(const std::string& name) const {
    const Descriptor& sections = *root_.GetDescriptor();
    for (int i = 0; i < sections.field_count(); ++i) {
      if (sections.field(i)->message_type()->FindFieldByName(name) != nullptr) return sections.field(i)->name();
    }
    return "";
  }

  void read_section(const Token& name, const FieldDescriptor& section) {
    read_fields(name, name.text, *root_.GetReflection()->MutableMessage(&root_, &section));
  }

  // Reads a group of fields, its brackets included. `name` is its first mention, `title` what messages call it.
  void read_fields(const Token& name, const std::string& title, Message& message) {
    const std::string closing = tokens_.at_symbol("{") ? "}" : ">";
    tokens_.next();
    while (!tokens_.take(closing)) {
      if (tokens_.at_end() || at_next_section(*message.GetDescriptor())) {
        return add_error(tokens_.current(), "expected '" + closing + "', the end of section '" + title + "' of line " +
                                                std::to_string(name.line + 1) + ", found " +
                                                describe(tokens_.current()));
      }
      if (tokens_.take(";") || tokens_.take(",")) continue;
      read_field(message, title);
    }
  }

  void read_group(const Token& name, Message& message, const FieldDescriptor& field) {
    note_position(name, message, field);
    tokens_.take(":");
    if (tokens_.take("[")) return read_list(message, field);
    if (read_braces(name, message, field)) return;
    if (!next_is_name()) tokens_.skip_value();
  }

  // False, with an error, where no braces begin.
  bool read_braces(const Token& name, Message& message, const FieldDescriptor& field) {
    if (tokens_.at_symbol("{") || tokens_.at_symbol("<")) {
      read_fields(name, field_path(field), *message.GetReflection()->AddMessage(&message, &field));
      return true;
    }
    add_error(tokens_.current(), field_path(field) + " needs fields in braces: " + field.name() + " { ... }",
              field_path(field));
    return false;
  }

  // True where a section begins although the one of type `inside` has not ended.
  bool at_next_section(const Descriptor& inside) const {
    const std::string& name = tokens_.current().text;
    return tokens_.at(Type::TYPE_IDENTIFIER) && tokens_.following().text == "{" && section_named(name) != nullptr &&
           inside.FindFieldByName(name) == nullptr;
  }

  void read_field(Message& message, const std::string& section) {
    const Token name = tokens_.current();
    if (!tokens_.at(Type::TYPE_IDENTIFIER)) {
      add_error(name, "expected the name of a field of " + section + ", found " + describe(name));
      return skip_to_name();
    }
    tokens_.next();
    const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name.text);
    if (field == nullptr) return skip_unknown_field(name, section, *message.GetDescriptor());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return read_group(name, message, *field);
    if (!tokens_.take(":")) {
      add_error(tokens_.current(),
                "expected ':' after " + field_path(*field) + ", found " + describe(tokens_.current()),
                field_path(*field));
      tokens_.take("=");
    }
    note_position(name, message, *field);
    read_field_value(message, *field);
  }

  void skip_unknown_field(const Token& name, const std::string& section, const Descriptor& descriptor) {
    UnknownName unknown = unknown_name("field '" + name.text + "' in " + section, name.text, field_names(descriptor));
    const std::string home = section_of_field(name.text);
    if (!home.empty()) {
      unknown.message = "unknown field '" + name.text + "' in " + section + "; it belongs to section '" + home + "'";
      unknown.suggestion.clear();
    }
    const std::string meant = home.empty() ? section + "." + unknown.suggestion : home + "." + name.text;
    add_error(name, unknown.message, meant);
    if (tokens_.take(":") || tokens_.take("=") || tokens_.at_opening()) tokens_.skip_value();
  }

  void note_position(const Token& name, const Message& message, const FieldDescriptor& field) {
    const auto [entry, is_new] =
        result_.positions.emplace(field_path(field), TextPosition{name.line + 1, name.column + 1});
    const bool in_new_group =
        message.GetDescriptor()->containing_type() != nullptr && !message.GetReflection()->HasField(message, &field);
    if (is_new || field.is_repeated() || in_new_group) return;
    add_error(name, field_path(field) + " is set twice, first in line " + std::to_string(entry->second.line),
              field_path(field));
  }

  void read_field_value(Message& message, const FieldDescriptor& field) {
    if (tokens_.at_end() || tokens_.at_closing() || next_is_name()) {
      return add_error(tokens_.current(), field_path(field) + " has no value", field_path(field));
    }
    if (field.is_repeated() && tokens_.take("[")) return read_list(message, field);
    read_one_value(message, field);
  }

  void read_list(Message& message, const FieldDescriptor& field) {
    while (!tokens_.take("]")) {
      if (tokens_.at_end() || tokens_.at_closing()) {
        return add_error(tokens_.current(), "expected ']', the end of the list of " + field_path(field) + ", found " +
                                                describe(tokens_.current()));
      }
      if (!tokens_.take(",")) read_element(message, field);
    }
  }

  void read_element(Message& message, const FieldDescriptor& field) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return read_one_value(message, field);
    if (read_braces(tokens_.current(), message, field)) return;
    while (!tokens_.at_end() && !tokens_.at_closing() && !tokens_.at_symbol(",")) tokens_.skip_value();
  }

  void read_one_value(Message& message, const FieldDescriptor& field) {
    const Token start = tokens_.current();
    const std::string error = read_value(tokens_, message, field);
    if (error.empty()) return;
    add_error(start, error, field_path(field));
    tokens_.skip_value();
  }

  // True where the current token is the name of another field or section and no value.
  bool next_is_name() const {
    return tokens_.at(Type::TYPE_IDENTIFIER) && (tokens_.following().text == ":" || tokens_.following().text == "{");
  }

  void skip_to_name() {
    do {
      if (tokens_.at_closing()) {
        tokens_.next();
      } else {
        tokens_.skip_value();
      }
    } while (!tokens_.at_end() && !tokens_.at(Type::TYPE_IDENTIFIER) && !tokens_.at_closing());
  }

  TextFields result_;
  TokenStream tokens_;
  Message& root_;
};

}  // namespace

TextFields read_text(std::string_view text, Message& root) {
  return TextReader(text, root).read();
}

TextFields read_groups(std::string_view text, const GroupField& target, Message& root) {
  return TextReader(text, root).read_groups(target.message, target.field);
}

}  // namespace kangpt::config
