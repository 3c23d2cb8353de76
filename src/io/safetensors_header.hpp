// The header of a safetensors file: its JSON text to and from checked entries.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::io {

struct SafetensorsEntry {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes, from the end of the header
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

// Bytes of an element, 0 for an unknown type.
std::uint64_t safetensors_element_bytes(std::string_view dtype) noexcept;

// "[128, 128, 9]"
std::string shape_text(const std::vector<std::int64_t>& shape);

// Throws DataError that begins with "FILE: ". Guarantees for the result: types are known, end - begin is what type and
// shape ask for, and the tensors cover [0, data_bytes) without gap or overlap. Memory is bounded by a small multiple of
// the text's size; nesting costs nothing.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& file);

// One line of JSON, padded with spaces so that 8 + size is a multiple of 8. Tensors stand in the order of their names.
std::string safetensors_header_text(const SafetensorsHeader& header);

}  // namespace kangpt::io
