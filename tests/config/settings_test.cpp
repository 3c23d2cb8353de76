// What has to hold for each setting of the schema, those to come among them.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/text_format.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <regex>

#include "base/error.hpp"
#include "config/configuration.hpp"
#include "config/field_value.hpp"
#include "config/schema.hpp"
#include "config/schema_values.hpp"
#include "configs/run_config.pb.h"
#include "message/message_fields.hpp"

namespace kangpt::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

bool is_double(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
}

std::string text_of(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.17g", value);
  return std::isinf(value) ? "1e999" : text.data();
}

// What is said to the value, "" where it is taken.
std::string answer(const FieldDescriptor& field, const std::string& value) {
  try {
    load_configuration("", {field_path(field) + "=" + value});
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

// The number nearest to `bound` on its outer side that the field can hold.
double beyond(const FieldDescriptor& field, double bound, int direction) {
  return is_double(field) ? std::nextafter(bound, direction * HUGE_VAL) : bound + direction;
}

// Numbers of a message, which rounds those that are not whole.
bool names_number(const std::string& message, double number) {
  static const std::regex kNumber("[0-9][0-9.]*(e-?[0-9]+)?");
  const double tolerance = number == std::floor(number) && number < 1e18 ? 0 : 0.03 * number;
  for (std::sregex_iterator match(message.begin(), message.end(), kNumber), end; match != end; ++match) {
    if (std::abs(std::strtod(match->str().c_str(), nullptr) - number) <= tolerance) return true;
  }
  return false;
}

std::string rule_in(const std::string& message) {
  const std::size_t rule = message.find("must be ");
  return rule == std::string::npos ? "" : message.substr(rule);
}

void expect_refusal(const FieldDescriptor& field, const NumberRange& range, double value) {
  const std::string message = answer(field, text_of(value));
  EXPECT_THAT(message, StartsWith("--set: " + field_path(field) + " is ")) << value;
  EXPECT_TRUE(names_number(rule_in(message), range.minimum)) << message;
  EXPECT_TRUE(std::isinf(range.maximum) || names_number(rule_in(message), range.maximum)) << message;
}

TEST(Settings, EachRefusesWhatLiesBeyondItsRangeAndNamesBothBounds) {
  int count = 0;
  for (const FieldDescriptor* const field : setting_fields()) {
    const std::optional<NumberRange> range = number_range(*field);
    if (!range) continue;
    ++count;
    SCOPED_TRACE(field_path(*field));
    const auto is_taken = [&](double value) {
      return answer(*field, text_of(value)).find("must be " + range->text) == std::string::npos;
    };
    EXPECT_TRUE(is_taken(range->minimum));
    EXPECT_TRUE(!range->includes_zero || is_taken(0));
    EXPECT_FALSE(is_double(*field) && is_taken(HUGE_VAL));
    expect_refusal(*field, *range, beyond(*field, range->minimum, -1));
    if (std::isinf(range->maximum)) continue;
    EXPECT_TRUE(is_taken(range->maximum));
    expect_refusal(*field, *range, beyond(*field, range->maximum, +1));
  }
  EXPECT_GE(count, 35);
}

TEST(Settings, NumbersThatCanBeNegativeHaveARange) {
  for (const FieldDescriptor* const field : setting_fields()) {
    const bool is_signed = is_double(*field) || field->cpp_type() == FieldDescriptor::CPPTYPE_INT32;
    if (!is_signed || field_path(*field) == "train.logical_shards") continue;  // powers of two
    EXPECT_TRUE(number_range(*field)) << field_path(*field) << " needs [(range) = { ... }]";
  }
}

TEST(Settings, DefaultsAreValid) {
  for (const std::string& problem : problems(load_configuration("", {}).values)) ADD_FAILURE() << problem;
}

// Sets each field of a message, groups in it too, to a value of its own that is not its default.
class Filling {
 public:
  void fill(Message& message) {
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor& field = *message.GetDescriptor()->field(i);
      for (int times = field.is_repeated() ? 2 : 1; times > 0; --times) set(message, field);
    }
  }

 private:
  void set(Message& message, const FieldDescriptor& field) {
    ++count_;
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (field.message_type() != nullptr) {
      return fill(field.is_repeated() ? *reflection.AddMessage(&message, &field)
                                      : *reflection.MutableMessage(&message, &field));
    }
    std::vector<TextError> errors;
    TokenStream tokens(value_for(field), errors);
    ASSERT_EQ(read_value(tokens, message, field), "") << field_path(field);
  }

  std::string value_for(const FieldDescriptor& field) const {
    const std::string number = std::to_string(100000 + count_);
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return "\"text " + number + "\"";
      case FieldDescriptor::CPPTYPE_BOOL:
        return field.default_value_bool() ? "false" : "true";
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return number + ".5";
      case FieldDescriptor::CPPTYPE_ENUM: {
        const google::protobuf::EnumDescriptor& type = *field.enum_type();
        return type.value((field.default_value_enum()->index() + 1) % type.value_count())->name();
      }
      default:
        return number;
    }
  }

  int count_ = 0;
};

TEST(Settings, EachReachesItsMemberAndComesBack) {
  const std::unique_ptr<Message> filled = new_configuration();
  Filling().fill(*filled);
  const std::unique_ptr<Message> again = to_message(to_values(*filled));
  const std::unique_ptr<Message> defaults = new_configuration();
  for (const FieldDescriptor* const field : setting_fields()) {
    const auto values_in = [&](const Message& root) { return value_texts(section_of(root, *field), *field); };
    EXPECT_NE(values_in(*filled), values_in(*defaults)) << field_path(*field);
    EXPECT_EQ(values_in(*again), values_in(*filled))
        << field_path(*field) << " is lost: is it a member of its section in run_config.hpp, and in KANGPT_FIELDS?";
  }
}

TEST(Settings, PathsAreExpandedAndFoldersHaveNames) {
  const std::string home = std::getenv("HOME");
  int count = 0;
  for (const FieldDescriptor* const field : setting_fields()) {
    const PathKind kind = path_kind(*field);
    if (kind == PathKind::kNone) continue;
    ++count;
    SCOPED_TRACE(field_path(*field));
    const RunConfig config = load_configuration("", {field_path(*field) + "=~/x"}).values;
    const std::unique_ptr<Message> message = to_message(config);
    EXPECT_EQ(value_texts(section_of(*message, *field), *field).front(), "\"" + home + "/x\"");
    EXPECT_THAT(answer(*field, ""), kind == PathKind::kFolder ? HasSubstr("must name a folder") : HasSubstr(""));
    EXPECT_EQ(answer(*field, "").empty(), kind == PathKind::kFileOrFolder);
  }
  EXPECT_GE(count, 3);
  EXPECT_EQ(load_configuration("", {"data.source={directory: '~/x'}"}).values.data.sources[0].directory, home + "/x");
}

// The schema has no such lists yet.
TEST(Settings, AListCanHoldAnyKindOfValue) {
  google::protobuf::FileDescriptorProto schema;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    name: "lists.proto"
    enum_type { name: "Colour" value { name: "RED" number: 0 } value { name: "BLUE" number: 1 } }
    message_type {
      name: "Lists"
      field { name: "numbers" number: 1 label: LABEL_REPEATED type: TYPE_DOUBLE }
      field { name: "counts" number: 2 label: LABEL_REPEATED type: TYPE_UINT64 }
      field { name: "flags" number: 3 label: LABEL_REPEATED type: TYPE_BOOL }
      field { name: "colours" number: 4 label: LABEL_REPEATED type: TYPE_ENUM type_name: "Colour" }
    })",
                                                            &schema));
  google::protobuf::DescriptorPool pool;
  const google::protobuf::FileDescriptor* const file = pool.BuildFile(schema);
  ASSERT_NE(file, nullptr);
  google::protobuf::DynamicMessageFactory factory;
  const std::unique_ptr<Message> message(factory.GetPrototype(file->message_type(0))->New());
  const std::vector<std::vector<std::string>> values = {
      {"0.5", "-1e-9"}, {"1", "7"}, {"true", "false"}, {"BLUE", "RED"}};
  for (int i = 0; i < file->message_type(0)->field_count(); ++i) {
    const FieldDescriptor& field = *file->message_type(0)->field(i);
    const std::vector<std::string>& expected = values[static_cast<std::size_t>(i)];
    for (const std::string& text : expected) {
      std::vector<TextError> errors;
      TokenStream tokens(text, errors);
      EXPECT_EQ(read_value(tokens, *message, field), "");
    }
    EXPECT_EQ(value_texts(*message, field), expected) << field.name();
  }
}

// ---- What happens when schema and structs disagree ----

KANGPT_ENUM(WrongDevice, kAuto, kCpu, kGpu);
KANGPT_ENUM(ShortDevice, kAuto, kCpu);

struct Misspelt {
  int thread = 0;
  KANGPT_FIELDS(thread)
};
struct OtherNames {
  WrongDevice device = WrongDevice::kAuto;
  KANGPT_FIELDS(device)
};
struct FewerNames {
  ShortDevice device = ShortDevice::kAuto;
  KANGPT_FIELDS(device)
};

template <typename Values>
std::string disagreement() {
  proto::Run message;
  Values values;
  const auto message_of = [](const auto& action) -> std::string {
    try {
      action();
      return "";
    } catch (const InternalError& error) {
      return error.what();
    }
  };
  const std::string reading = message_of([&] { message::read_fields(message, values); });
  EXPECT_EQ(message_of([&] { message::write_fields(values, message); }), reading);
  return reading;
}

TEST(Settings, AMemberThatIsNoFieldIsADefect) {
  EXPECT_THAT(disagreement<Misspelt>(), HasSubstr("kangpt.config.proto.Run has no field 'thread'"));
}

TEST(Settings, EnumeratorsThatDifferAreADefect) {
  EXPECT_THAT(disagreement<OtherNames>(), HasSubstr("Run.Device and of device (kAuto, kCpu, kGpu) differ"));
  EXPECT_THAT(disagreement<FewerNames>(), HasSubstr("Run.Device and of device (kAuto, kCpu) differ"));
  EXPECT_EQ(disagreement<RunSection>(), "");
}

}  // namespace
}  // namespace kangpt::config
