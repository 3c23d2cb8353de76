#include "config/help_text.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>

#include <algorithm>
#include <cstddef>
#include <sstream>

#include "base/error.hpp"
#include "base/format.hpp"
#include "config/field_value.hpp"
#include "config/schema.hpp"
#include "configs/run_config.pb.h"

namespace kangpt::config {

// Of a generated file: the schema with its comments, a FileDescriptorSet.
// NOLINTBEGIN(readability-identifier-naming): cmake/embed.cmake makes two names of one
extern const unsigned char schema_description[];
extern const std::size_t schema_description_bytes;
// NOLINTEND(readability-identifier-naming)

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr int kNarrowest = 40;
constexpr std::size_t kFieldIndent = 2;
constexpr std::size_t kTextIndent = 6;

const Descriptor& sections() {
  return *proto::RunConfig::descriptor();
}

// The comments of the schema: a second reading of it, since the generated code has none.
class Comments {
 public:
  Comments() : pool_(&files_) {
    google::protobuf::FileDescriptorSet set;
    bool is_good = set.ParseFromArray(schema_description, static_cast<int>(schema_description_bytes));
    for (const google::protobuf::FileDescriptorProto& file : set.file()) is_good = is_good && files_.Add(file);
    if (!is_good) throw InternalError("the description of the configuration in this program makes no sense");
  }

  std::string of(const Descriptor& message) const { return text(pool_.FindMessageTypeByName(message.full_name())); }
  std::string of(const FieldDescriptor& field) const { return text(pool_.FindFieldByName(field.full_name())); }
  std::string of(const EnumValueDescriptor& value) const { return text(pool_.FindEnumValueByName(value.full_name())); }

 private:
  // "" where there is none.
  template <typename T>
  static std::string text(const T* item) {
    google::protobuf::SourceLocation place;
    if (item == nullptr || !item->GetSourceLocation(&place)) return "";
    return place.leading_comments + place.trailing_comments;
  }

  google::protobuf::SimpleDescriptorDatabase files_;
  google::protobuf::DescriptorPool pool_;
};

// Builds the text.
class HelpWriter {
 public:
  explicit HelpWriter(const HelpStyle& style)
      : columns_(static_cast<std::size_t>(std::max(style.columns, kNarrowest))), colours_(style.colours) {}

  void section(const FieldDescriptor& section) {
    const Descriptor& fields = *section.message_type();
    if (!text_.empty()) text_ += "\n";
    text_ += bold(section.name()) + "\n";
    paragraph(comments_.of(fields), kFieldIndent);
    for (int i = 0; i < fields.field_count(); ++i) field(*fields.field(i));
  }

  void field(const FieldDescriptor& field) {
    if (!text_.empty()) text_ += "\n";
    text_ += std::string(kFieldIndent, ' ') + bold(field_path(field)) + "\n";
    paragraph(facts(field), kTextIndent);
    paragraph(comments_.of(field), kTextIndent);
    if (field.enum_type() != nullptr) enumerators(*field.enum_type());
    for (int i = 0; field.message_type() != nullptr && i < field.message_type()->field_count(); ++i)
      this->field(*field.message_type()->field(i));
  }

  const std::string& text() const noexcept { return text_; }

 private:
  std::string bold(const std::string& text) const { return colours_ ? "\x1b[1m" + text + "\x1b[0m" : text; }

  // Type and default, and what else the schema says beside the comment.
  std::string facts(const FieldDescriptor& field) const {
    const std::string kind = value_kind(field);
    std::string facts = field.is_repeated() ? "a list, each " + kind : kind;
    if (!field.is_repeated() && field.message_type() == nullptr) {
      const Message& unset =
          *google::protobuf::MessageFactory::generated_factory()->GetPrototype(field.containing_type());
      facts += "; default " + value_text(unset, field);
    }
    if (const std::optional<NumberRange> range = number_range(field)) facts += "; " + range->text;
    return facts;
  }

  void enumerators(const EnumDescriptor& type) {
    std::size_t widest = 0;
    for (int i = 0; i < type.value_count(); ++i) widest = std::max(widest, type.value(i)->name().size());
    for (int i = 0; i < type.value_count(); ++i) {
      const EnumValueDescriptor& value = *type.value(i);
      const std::string name = value.name() + std::string(widest - value.name().size(), ' ');
      const std::string comment = comments_.of(value);
      if (!comment.empty()) paragraph(comment, kTextIndent + widest + 2, std::string(kTextIndent, ' ') + name + "  ");
    }
  }

  // Wrapped behind `indent` blanks, or `first` in the first line.
  void paragraph(const std::string& text, std::size_t indent, std::string first = "") {
    std::string line = first.empty() ? std::string(indent, ' ') : std::move(first);
    bool is_begun = false;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      if (is_begun && line.size() + 1 + word.size() > columns_) {
        text_ += line + "\n";
        line = std::string(indent, ' ');
        is_begun = false;
      }
      line += (is_begun ? " " : "") + word;
      is_begun = true;
    }
    if (is_begun) text_ += line + "\n";
  }

  std::size_t columns_;
  bool colours_;
  Comments comments_;
  std::string text_;
};

const FieldDescriptor* find(const std::string& what, const std::string& name, const Descriptor& among) {
  const FieldDescriptor* const field = among.FindFieldByName(name);
  if (field == nullptr) throw UsageError(unknown_name(what, name, field_names(among)).message);
  return field;
}

std::vector<std::string> choices_of(const FieldDescriptor& field) {
  std::vector<std::string> choices;
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) choices = {"true", "false"};
  for (int i = 0; field.enum_type() != nullptr && i < field.enum_type()->value_count(); ++i)
    choices.push_back(field.enum_type()->value(i)->name());
  return choices;
}

}  // namespace

std::string help_text(const std::string& name, const HelpStyle& style) {
  HelpWriter writer(style);
  if (name.empty()) {
    for (int i = 0; i < sections().field_count(); ++i) writer.section(*sections().field(i));
    return writer.text();
  }
  const std::size_t dot = name.find('.');
  const FieldDescriptor& section = *find("section '" + name.substr(0, dot) + "'", name.substr(0, dot), sections());
  if (dot == std::string::npos) {
    writer.section(section);
  } else {
    const std::string field = name.substr(dot + 1);
    writer.field(*find("field '" + field + "' in " + section.name(), field, *section.message_type()));
  }
  return writer.text();
}

std::vector<SettingChoices> setting_choices() {
  std::vector<SettingChoices> settings;
  for (const FieldDescriptor* const field : setting_fields())
    settings.push_back({field_path(*field), choices_of(*field)});
  return settings;
}

}  // namespace kangpt::config
