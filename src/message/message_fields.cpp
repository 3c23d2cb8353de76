#include "message/message_fields.hpp"

#include <algorithm>
#include <cctype>

#include "base/error.hpp"

namespace kangpt::message {
namespace {

// Takes the first of "name, sizes" away.
std::string take_name(std::string_view& names) {
  const std::size_t comma = std::min(names.find(','), names.size());
  const std::string name(names.substr(0, comma));
  names.remove_prefix(comma);
  names.remove_prefix(std::min(names.find_first_not_of(", "), names.size()));
  return name;
}

// "kConvMod", "CONV_MOD" -> "convmod"
std::string bare_name(std::string_view name) {
  std::string bare;
  for (const char letter : name.substr(name.starts_with('k') ? 1 : 0)) {
    if (letter != '_') bare += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return bare;
}

}  // namespace

const FieldDescriptor& FieldsByName::next() {
  const std::string member = take_name(members_);
  const FieldDescriptor* field = message_.FindFieldByName(member);
  if (field == nullptr && member.ends_with('s')) field = message_.FindFieldByName(member.substr(0, member.size() - 1));
  if (field == nullptr) throw InternalError("the message " + message_.full_name() + " has no field '" + member + "'");
  return *field;
}

void require_enumerators(const FieldDescriptor& field, std::string_view members) {
  const google::protobuf::EnumDescriptor& type = *field.enum_type();
  std::string_view rest = members;
  bool is_same = true;
  for (int i = 0; i < type.value_count() && is_same; ++i) {
    is_same = type.value(i)->number() == i && bare_name(type.value(i)->name()) == bare_name(take_name(rest));
  }
  if (is_same && rest.empty()) return;
  throw InternalError("the enumerators of " + type.full_name() + " and of " + field.name() + " (" +
                      std::string(members) + ") differ");
}

}  // namespace kangpt::message
