#include "config/schema.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.hpp"
#include "config/field_value.hpp"
#include "configs/run_config.pb.h"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLeastNormal = std::numeric_limits<float>::min();
constexpr double kLargest = std::numeric_limits<float>::max();
// fp32 rounds the middle between 1 and the number before it up to 1.
constexpr double kRoundedToOne = 1 - double{std::numeric_limits<float>::epsilon()} / 4;

NumberRange single_precision_range(proto::Range::SinglePrecision kind) {
  if (kind == proto::Range::ABOVE_ZERO)
    return {kLeastNormal, kLargest, false, "from 1.2e-38 to 3.4e38, the range of fp32"};
  if (kind == proto::Range::ZERO_OR_ABOVE)
    return {kLeastNormal, kLargest, true, "0, or from 1.2e-38 to 3.4e38, the range of fp32"};
  return {0, std::nextafter(kRoundedToOne, 0), false, "from 0 to 0.9999999, so that it is below 1 in fp32 too"};
}

// 65536, 0.5: all digits of a whole number.
std::string bound_text(double bound) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.15g", bound);
  return text.data();
}

NumberRange plain_range(const proto::Range& range, const FieldDescriptor& field) {
  const std::string minimum = bound_text(range.minimum());
  if (range.has_maximum()) {
    return {range.minimum(), range.maximum(), false, "from " + minimum + " to " + bound_text(range.maximum())};
  }
  const bool is_whole = field.cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE;
  return {range.minimum(), kInfinity, false, (is_whole ? "" : "a finite number of ") + minimum + " or more"};
}

}  // namespace

std::unique_ptr<Message> new_configuration() {
  return std::make_unique<proto::RunConfig>();
}

std::vector<const FieldDescriptor*> setting_fields() {
  const google::protobuf::Descriptor& sections = *proto::RunConfig::descriptor();
  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < sections.field_count(); ++i) {
    const google::protobuf::Descriptor& section = *sections.field(i)->message_type();
    for (int j = 0; j < section.field_count(); ++j) fields.push_back(section.field(j));
  }
  return fields;
}

const Message& section_of(const Message& root, const FieldDescriptor& field) {
  const google::protobuf::Descriptor& sections = *root.GetDescriptor();
  for (int i = 0; i < sections.field_count(); ++i) {
    if (sections.field(i)->message_type() == field.containing_type()) {
      return root.GetReflection()->GetMessage(root, sections.field(i));
    }
  }
  throw InternalError(field_path(field) + " is in no section");
}

bool NumberRange::contains(double value) const {
  if (value == 0 && includes_zero) return true;
  return std::isfinite(value) && value >= minimum && value <= maximum;
}

std::optional<NumberRange> number_range(const FieldDescriptor& field) {
  if (!field.options().HasExtension(proto::range)) return std::nullopt;
  const proto::Range& option = field.options().GetExtension(proto::range);
  NumberRange range = option.has_fp32() ? single_precision_range(option.fp32()) : plain_range(option, field);
  range.text += option.ending();
  return range;
}

PathKind path_kind(const FieldDescriptor& field) {
  if (!field.options().HasExtension(proto::path)) return PathKind::kNone;
  return field.options().GetExtension(proto::path) == proto::FOLDER ? PathKind::kFolder : PathKind::kFileOrFolder;
}

}  // namespace kangpt::config
