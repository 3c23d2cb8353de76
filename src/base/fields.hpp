// Structs and enums that know the names of their parts, so that message/message_fields.hpp can copy them to and from
// protobuf messages. Free of protobuf.
#pragma once

// Inside a struct: those of its members that are fields of a message too, by the same names.
#define KANGPT_FIELDS(...)                             \
  static constexpr const char* kFields = #__VA_ARGS__; \
  template <typename Visit>                            \
  void with_fields(Visit&& visit) {                    \
    visit(__VA_ARGS__);                                \
  }                                                    \
  template <typename Visit>                            \
  void with_fields(Visit&& visit) const {              \
    visit(__VA_ARGS__);                                \
  }

// An enum class with the enumerators of one in a message, in the same order: kAuto for AUTO, kConvMod for CONV_MOD.
#define KANGPT_ENUM(Name, ...)                      \
  enum class Name;                                  \
  constexpr const char* enumerators(Name /*any*/) { \
    return #__VA_ARGS__;                            \
  }                                                 \
  enum class Name { __VA_ARGS__ }
