// Copies between structs with KANGPT_FIELDS (base/fields.hpp) and protobuf messages that have fields of the same names.
// No translation unit that reaches LibTorch may include this.
#pragma once

#include <google/protobuf/message.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace kangpt::message {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

template <typename T>
concept HasFields = requires {
  T::kFields;
};

// The fields of a message that belong to a list of members "name, sizes", one call each. A repeated field `size` may
// be the member `sizes`. A member without a field is a defect: InternalError.
class FieldsByName {
 public:
  FieldsByName(const google::protobuf::Descriptor& message, std::string_view members)
      : message_(message), members_(members) {}
  const FieldDescriptor& next();

 private:
  const google::protobuf::Descriptor& message_;
  std::string_view members_;  // those to come
};

// Throws InternalError unless `members` ("kAuto, kCpu") are the enumerators of the field.
void require_enumerators(const FieldDescriptor& field, std::string_view members);

// How protobuf reads and writes a T: as the one value of a field, and as an element of a repeated one. It throws
// where the field is of another type.
template <typename T>
struct FieldAccess {
  T (Reflection::*value)(const Message&, const FieldDescriptor*) const;
  void (Reflection::*set)(Message*, const FieldDescriptor*, T) const;
  T (Reflection::*element)(const Message&, const FieldDescriptor*, int) const;
  void (Reflection::*add)(Message*, const FieldDescriptor*, T) const;
};

template <typename T>
consteval auto field_access() {
  using R = Reflection;
  if constexpr (std::is_enum_v<T>)
    return FieldAccess<int>{&R::GetEnumValue, &R::SetEnumValue, &R::GetRepeatedEnumValue, &R::AddEnumValue};
  if constexpr (std::same_as<T, std::int32_t>)
    return FieldAccess<T>{&R::GetInt32, &R::SetInt32, &R::GetRepeatedInt32, &R::AddInt32};
  if constexpr (std::same_as<T, std::int64_t>)
    return FieldAccess<T>{&R::GetInt64, &R::SetInt64, &R::GetRepeatedInt64, &R::AddInt64};
  if constexpr (std::same_as<T, std::uint32_t>)
    return FieldAccess<T>{&R::GetUInt32, &R::SetUInt32, &R::GetRepeatedUInt32, &R::AddUInt32};
  if constexpr (std::same_as<T, std::uint64_t>)
    return FieldAccess<T>{&R::GetUInt64, &R::SetUInt64, &R::GetRepeatedUInt64, &R::AddUInt64};
  if constexpr (std::same_as<T, double>)
    return FieldAccess<T>{&R::GetDouble, &R::SetDouble, &R::GetRepeatedDouble, &R::AddDouble};
  if constexpr (std::same_as<T, bool>)
    return FieldAccess<T>{&R::GetBool, &R::SetBool, &R::GetRepeatedBool, &R::AddBool};
  if constexpr (std::same_as<T, std::string>)
    return FieldAccess<T>{&R::GetString, &R::SetString, &R::GetRepeatedString, &R::AddString};
}

// An enum travels as its number.
template <typename T>
using FieldNumberOr = std::conditional_t<std::is_enum_v<T>, int, T>;

template <typename T>
void require_same_enum(const FieldDescriptor& field) {
  if constexpr (std::is_enum_v<T>) require_enumerators(field, enumerators(T{}));
}

// ---- From a message ----

template <HasFields T>
void read_fields(const Message& message, T& values);

template <typename T>
void read_field(const Message& message, const FieldDescriptor& field, T& value) {
  const Reflection& reflection = *message.GetReflection();
  if constexpr (HasFields<T>) {
    read_fields(reflection.GetMessage(message, &field), value);
  } else {
    require_same_enum<T>(field);
    value = static_cast<T>((reflection.*field_access<T>().value)(message, &field));
  }
}

template <typename T>
void read_field(const Message& message, const FieldDescriptor& field, std::vector<T>& values) {
  const Reflection& reflection = *message.GetReflection();
  require_same_enum<T>(field);
  values.clear();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if constexpr (HasFields<T>) {
      read_fields(reflection.GetRepeatedMessage(message, &field, i), values.emplace_back());
    } else {
      values.push_back(static_cast<T>((reflection.*field_access<T>().element)(message, &field, i)));
    }
  }
}

// Fields that are not set give their default. Members that are not listed stay as they are.
template <HasFields T>
void read_fields(const Message& message, T& values) {
  FieldsByName fields(*message.GetDescriptor(), T::kFields);
  values.with_fields([&](auto&... members) { (read_field(message, fields.next(), members), ...); });
}

// ---- To a message ----

template <HasFields T>
void write_fields(const T& values, Message& message);

template <typename T>
void write_field(const T& value, Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if constexpr (HasFields<T>) {
    write_fields(value, *reflection.MutableMessage(&message, &field));
  } else {
    require_same_enum<T>(field);
    (reflection.*field_access<T>().set)(&message, &field, static_cast<FieldNumberOr<T>>(value));
  }
}

template <typename T>
void write_field(const std::vector<T>& values, Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  require_same_enum<T>(field);
  reflection.ClearField(&message, &field);
  for (const T& value : values) {
    if constexpr (HasFields<T>) {
      write_fields(value, *reflection.AddMessage(&message, &field));
    } else {
      (reflection.*field_access<T>().add)(&message, &field, static_cast<FieldNumberOr<T>>(value));
    }
  }
}

// Sets a field for each listed member, defaults too.
template <HasFields T>
void write_fields(const T& values, Message& message) {
  FieldsByName fields(*message.GetDescriptor(), T::kFields);
  values.with_fields([&](const auto&... members) { (write_field(members, message, fields.next()), ...); });
}

}  // namespace kangpt::message
