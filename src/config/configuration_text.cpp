#include <algorithm>

#include "config/configuration.hpp"
#include "config/field_value.hpp"
#include "config/schema_values.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

struct Line {
  std::string text;
  std::string path;  // the field that it sets; empty for a section's braces
};

void append_field(const Message& section, const FieldDescriptor& field, std::vector<Line>& lines) {
  const std::string colon = field.message_type() == nullptr ? ": " : " ";
  for (const std::string& text : value_texts(section, field)) {
    lines.push_back({"  " + field.name() + colon + text, field_path(field)});
  }
}

std::vector<Line> lines_of(const RunConfig& config) {
  const std::unique_ptr<Message> message = to_message(config);
  const Message& root = *message;
  std::vector<Line> lines;
  for (int i = 0; i < root.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *root.GetDescriptor()->field(i);
    const Message& section = root.GetReflection()->GetMessage(root, &field);
    lines.push_back({field.name() + " {", ""});
    for (int j = 0; j < section.GetDescriptor()->field_count(); ++j) {
      append_field(section, *section.GetDescriptor()->field(j), lines);
    }
    lines.push_back({"}", ""});
  }
  return lines;
}

// Where the origins begin: past all but very long lines.
std::size_t comment_column(const std::vector<Line>& lines) {
  constexpr std::size_t kWidest = 60;
  std::size_t widest = 0;
  for (const Line& line : lines) {
    if (line.text.size() <= kWidest) widest = std::max(widest, line.text.size());
  }
  return widest + 2;
}

}  // namespace

std::string to_text(const RunConfig& config) {
  std::string text;
  for (const Line& line : lines_of(config)) text += line.text + "\n";
  return text;
}

std::string to_annotated_text(const Configuration& configuration) {
  const std::vector<Line> lines = lines_of(configuration.values);
  const std::size_t column = comment_column(lines);
  std::string text;
  for (const Line& line : lines) {
    text += line.text;
    const auto origin = configuration.origins.find(line.path);
    if (origin != configuration.origins.end()) {
      const std::size_t gap = column > line.text.size() ? column - line.text.size() : 2;
      text += std::string(gap, ' ') + "# " + origin->second;
    }
    text += "\n";
  }
  return text;
}

}  // namespace kangpt::config
