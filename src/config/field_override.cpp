#include "config/field_override.hpp"

#include <vector>

#include "base/format.hpp"
#include "config/field_value.hpp"
#include "config/schema.hpp"
#include "config/text_reader.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::vector<std::string> all_paths() {
  std::vector<std::string> paths;
  for (const FieldDescriptor* const field : setting_fields()) paths.push_back(field_path(*field));
  return paths;
}

// For a name without a section: the fields of that name, or else the nearest one.
std::string meant_path(const std::string& name) {
  for (const std::string& path : all_paths()) {
    if (path.ends_with("." + name)) return path;
  }
  return base::closest_name(name, all_paths());
}

FieldOverride without_section(const std::string& name) {
  FieldOverride result{meant_path(name), "expected section.field=value", false};
  if (!result.field.empty()) result.error += "; did you mean '" + result.field + "'?";
  return result;
}

// Reads one value, or several between commas, in brackets or not, up to the end of `text`.
std::string read_values(const std::string& text, Message& section, const FieldDescriptor& field) {
  std::vector<TextError> errors;
  TokenStream tokens(text, errors);
  const std::string mismatch = field_path(field) + " needs " + value_kind(field) + ", found '" + text + "'";
  if (!errors.empty()) return mismatch;
  if (tokens.at_end()) return field_path(field) + " has no value";
  const bool in_brackets = field.is_repeated() && tokens.take("[");
  if (in_brackets && tokens.take("]")) return tokens.at_end() ? "" : mismatch;
  do {
    const std::string error = read_value(tokens, section, field);
    if (!error.empty()) return error;
  } while (field.is_repeated() && tokens.take(","));
  return tokens.take("]") == in_brackets && tokens.at_end() ? "" : mismatch;
}

std::string set_text(const std::string& text, Message& section, const FieldDescriptor& field) {
  const bool is_quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  if (is_quoted) return read_values(text, section, field);
  if (field.is_repeated()) {
    section.GetReflection()->AddString(&section, &field, text);
  } else {
    section.GetReflection()->SetString(&section, &field, text);
  }
  return "";
}

// Errors have their place in `text`, unless that is its beginning.
std::string set_groups(const std::string& text, const GroupField& target, Message& root) {
  std::vector<std::string> messages;
  for (const TextError& error : read_groups(text, target, root).errors) {
    const std::string place = error.column > 1 ? "column " + std::to_string(error.column) + " of the value: " : "";
    messages.push_back(place + error.message);
  }
  return base::join(messages, "; ");
}

std::string set_field(const std::string& text, const GroupField& target, Message& root) {
  auto& [section, field] = target;
  const bool is_text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  if (field.is_repeated() && (!is_text || text.empty())) section.GetReflection()->ClearField(&section, &field);
  if (field.is_repeated() && text.empty()) return "";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return set_groups(text, target, root);
  return is_text ? set_text(text, section, field) : read_values(text, section, field);
}

}  // namespace

FieldOverride apply_override(const std::string& argument, Message& root) {
  const Descriptor& sections = *root.GetDescriptor();
  const std::size_t equals = argument.find('=');
  const std::string path = argument.substr(0, equals);
  const std::size_t dot = path.find('.');
  if (equals == std::string::npos || dot == std::string::npos) return without_section(path);
  if (argument.size() > kMaxTextBytes) return {"", "the value is too long", false};
  const std::string section_name = path.substr(0, dot);
  const std::string name = path.substr(dot + 1);
  const FieldDescriptor* const section = sections.FindFieldByName(section_name);
  if (section == nullptr) {
    const UnknownName unknown = unknown_name("section '" + section_name + "'", section_name, field_names(sections));
    return {unknown.suggestion, unknown.message, false};
  }
  const FieldDescriptor* const field = section->message_type()->FindFieldByName(name);
  if (field == nullptr) {
    const FieldDescriptor* const group = section->message_type()->FindFieldByName(name.substr(0, name.find('.')));
    if (group != nullptr && group->message_type() != nullptr) {
      return {field_path(*group),
              field_path(*group) + " can only be set as a whole: [{ " +
                  base::join(field_names(*group->message_type()), ": ... ") + ": ... }, { ... }]",
              false};
    }
    const UnknownName unknown =
        unknown_name("field '" + name + "' in " + section_name, name, field_names(*section->message_type()));
    return {section_name + "." + unknown.suggestion, unknown.message, false};
  }
  Message& message = *root.GetReflection()->MutableMessage(&root, section);
  const std::string value = argument.substr(equals + 1);
  const bool is_appended =
      field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && !value.empty();
  return {path, set_field(value, {message, *field}, root), is_appended};
}

}  // namespace kangpt::config
