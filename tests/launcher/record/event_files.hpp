// A reader of event files of its own: what the format's grammar says, nothing that the writer uses.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.hpp"
#include "tests/support/files.hpp"

namespace kangpt::launcher {

namespace fs = std::filesystem;

inline std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

inline bool checks(std::string_view bytes, std::uint64_t stored) {
  const std::uint32_t crc = base::crc32c(std::as_bytes(std::span(bytes)));
  return stored == static_cast<std::uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8U);
}

inline std::vector<std::string> records_of(std::string_view file) {
  std::vector<std::string> records;
  while (!file.empty()) {
    if (file.size() < 16) throw std::runtime_error("a record is cut off");
    const std::uint64_t length = little_endian(file.substr(0, 8));
    if (!checks(file.substr(0, 8), little_endian(file.substr(8, 4)))) throw std::runtime_error("wrong CRC of a length");
    const std::string_view event = file.substr(12, length);
    if (!checks(event, little_endian(file.substr(12 + length, 4)))) throw std::runtime_error("wrong CRC of an event");
    records.emplace_back(event);
    file.remove_prefix(16 + length);
  }
  return records;
}

// The fields of a protobuf message: their raw bytes, or a varint's value in digits. Of a list the last value.
using Fields = std::map<unsigned, std::string>;

inline std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(0));
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

inline std::vector<std::pair<unsigned, std::string>> all_fields_of(std::string_view message) {
  std::vector<std::pair<unsigned, std::string>> fields;
  while (!message.empty()) {
    const std::uint64_t key = take_varint(message);
    std::string& value = fields.emplace_back(static_cast<unsigned>(key >> 3), "").second;
    if ((key & 7) == 0) {
      value = std::to_string(take_varint(message));
      continue;
    }
    const std::size_t size = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : take_varint(message);
    value = message.substr(0, size);
    message.remove_prefix(size);
  }
  return fields;
}

inline Fields fields_of(std::string_view message) {
  Fields fields;
  for (auto& [number, value] : all_fields_of(message)) fields[number] = std::move(value);
  return fields;
}

template <typename T>
T number(const std::string& bytes) {
  T value{};
  if (bytes.size() != sizeof value) throw std::runtime_error("a number of another size");
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Tag -> step -> value as TensorBoard would show them: files by name, a START drops later steps.
template <typename Value>
using ByTag = std::map<std::string, std::map<std::uint64_t, Value>>;
using Curves = ByTag<float>;

struct Content {
  Curves curves;
  ByTag<std::string> texts;
  std::map<std::string, std::string> hyperparameters;  // content of the plugin by tag, the first that is there
};

inline void drop_from(std::uint64_t step, auto& by_tag) {
  for (auto& [tag, values] : by_tag) values.erase(values.lower_bound(step), values.end());
}

inline void add_value(std::uint64_t step, Fields value, Content& content) {
  Fields metadata = fields_of(value[9]);
  if (metadata.empty()) {
    content.curves[value[1]][step] = number<float>(value[2]);
    return;
  }
  EXPECT_EQ(metadata[4], "2") << "the class of data: tensor";
  Fields plugin = fields_of(metadata[1]), tensor = fields_of(value[8]);
  EXPECT_EQ(tensor[2], "") << "the shape: one value";
  if (plugin[1] == "hparams") {
    EXPECT_EQ(tensor[1] + "," + std::to_string(tensor[5].size()), "1,4") << "a float";
    content.hyperparameters.emplace(value[1], plugin[2]);
  } else {
    EXPECT_EQ(plugin[1] + tensor[1], "text7") << "of bytes";
    content.texts[value[1]][step] = tensor[8];
  }
}

inline Content read_content(const fs::path& directory) {
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.is_regular_file()) files.insert(entry.path());
  }
  Content content;
  for (const fs::path& file : files) {
    bool first = true;
    for (const std::string& record : records_of(test::read_text(file))) {
      Fields event = fields_of(record);
      EXPECT_GT(number<double>(event[1]), 1.6e9) << "seconds since 1970";
      EXPECT_EQ(event[3], std::exchange(first, false) ? "brain.Event:2" : "");
      const std::uint64_t step = event[2].empty() ? 0 : std::stoull(event[2]);
      if (event.contains(7) && fields_of(event[7])[1] == "1") {
        drop_from(step, content.curves);
        drop_from(step, content.texts);
      }
      if (event.contains(5)) add_value(step, fields_of(fields_of(event[5])[1]), content);
    }
  }
  return content;
}

inline Curves read_curves(const fs::path& directory) {
  return read_content(directory).curves;
}

}  // namespace kangpt::launcher
