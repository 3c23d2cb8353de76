#include <algorithm>
#include <cstdlib>

#include "base/format.hpp"
#include "config/field_value.hpp"
#include "config/problem.hpp"
#include "config/schema.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

class FieldChecker {
 public:
  FieldChecker(const Message& section, const FieldDescriptor& field, std::vector<Problem>& problems)
      : section_(section), field_(field), problems_(problems) {}

  void check() {
    if (const std::optional<NumberRange> range = number_range(field_)) check_range(*range);
    if (path_kind(field_) == PathKind::kFolder) check_folder();
  }

 private:
  void require(bool is_valid, const std::string& rule) {
    if (is_valid) return;
    const std::string path = field_path(field_);
    problems_.push_back({{path}, path + " is " + base::join(value_texts(section_, field_), ", ") + ": " + rule});
  }

  void check_range(const NumberRange& range) {
    const std::vector<std::string> values = value_texts(section_, field_);
    const bool is_valid = std::all_of(values.begin(), values.end(), [&](const std::string& text) {
      return range.contains(std::strtod(text.c_str(), nullptr));
    });
    require(is_valid, (field_.is_repeated() ? "each must be " : "must be ") + range.text);
  }

  void check_folder() {
    const std::string folder = section_.GetReflection()->GetString(section_, &field_);
    require(!folder.empty(), "must name a folder");
    require(folder.find('\0') == std::string::npos, "must not contain a null character");
  }

  const Message& section_;
  const FieldDescriptor& field_;
  std::vector<Problem>& problems_;
};

}  // namespace

std::vector<Problem> field_problems(const Message& configuration) {
  std::vector<Problem> problems;
  for (const FieldDescriptor* const field : setting_fields()) {
    FieldChecker(section_of(configuration, *field), *field, problems).check();
  }
  return problems;
}

}  // namespace kangpt::config
