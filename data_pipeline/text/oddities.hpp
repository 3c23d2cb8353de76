// What is odd about a text though it can be read: counted and said, so that nobody trains on it unawares.
#pragma once

#include <cstdint>

#include "base/fields.hpp"

namespace kangpt::data {

struct Oddities {
  std::uint64_t separators_in_text = 0;  // <|endoftext|> that separates nothing: within a line, or in a JSON string
  std::uint64_t zero_bytes = 0;
  std::uint64_t byte_order_marks = 0;  // at the beginning of a story, though not of its source
  std::uint64_t skipped_records = 0;   // JSON that was left out, see InvalidRecords

  KANGPT_FIELDS(separators_in_text, zero_bytes, byte_order_marks, skipped_records)

  Oddities& operator+=(const Oddities& more) noexcept {
    separators_in_text += more.separators_in_text;
    zero_bytes += more.zero_bytes;
    byte_order_marks += more.byte_order_marks;
    skipped_records += more.skipped_records;
    return *this;
  }
  bool operator==(const Oddities&) const = default;
};

}  // namespace kangpt::data
