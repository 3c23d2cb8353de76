#include "io/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.hpp"

namespace kangpt::io {
namespace {

constexpr std::size_t kMaxDimensions = 16;
constexpr std::array<std::pair<std::string_view, std::uint64_t>, 14> kTypes = {{{"F64", 8},
                                                                                {"F32", 4},
                                                                                {"F16", 2},
                                                                                {"BF16", 2},
                                                                                {"I64", 8},
                                                                                {"I32", 4},
                                                                                {"I16", 2},
                                                                                {"I8", 1},
                                                                                {"U64", 8},
                                                                                {"U32", 4},
                                                                                {"U16", 2},
                                                                                {"U8", 1},
                                                                                {"BOOL", 1},
                                                                                {"F8_E4M3", 1}}};

// Takes the parser's events one by one: no tree is built, so deep nesting and long arrays of a corrupt header cost
// nothing, and a name that stands twice is noticed. Where a value may stand depends on the depth alone:
// 1 tensors, 2 fields of a tensor or of __metadata__, 3 elements of "shape" or "data_offsets".
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader take_header() { return std::move(header_); }
  const std::string& problem() const noexcept { return problem_; }

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return refuse("a number with a fraction"); }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ != 3) return refuse("a number");
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return refuse("a number above 2^63");
    numbers_.push_back(value);
    return numbers_.size() <= kMaxDimensions || refuse("more than " + std::to_string(kMaxDimensions) + " dimensions");
  }

  bool string(string_t& value) override {
    if (depth_ != 2) return refuse("a string");
    if (in_metadata_) {
      header_.metadata[field_] = value;
      return true;
    }
    if (field_ != "dtype") return refuse("a string");
    entry_.dtype = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ > 1) return refuse("an object");
    ++depth_;
    fields_.clear();
    entry_ = {};
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 1) {
      tensor_ = name;
      in_metadata_ = name == "__metadata__";
      const bool twice = in_metadata_ ? std::exchange(has_metadata_, true) : header_.tensors.count(name) > 0;
      return !twice || fail("'" + name + "' stands twice");
    }
    field_ = name;
    if (!fields_.insert(name).second) return fail("'" + name + "' stands twice in '" + tensor_ + "'");
    const bool known = in_metadata_ || name == "dtype" || name == "shape" || name == "data_offsets";
    return known || fail("unknown field '" + name + "' in '" + tensor_ + "'");
  }

  bool end_object() override {
    --depth_;
    if (depth_ != 1 || in_metadata_) return true;
    if (fields_.size() != 3) return fail("tensor '" + tensor_ + "' lacks dtype, shape or data_offsets");
    header_.tensors.emplace(tensor_, std::move(entry_));
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || field_ == "dtype") return refuse("an array");
    ++depth_;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    --depth_;
    if (field_ == "shape") {
      entry_.shape.assign(numbers_.begin(), numbers_.end());
      return true;
    }
    if (numbers_.size() != 2) return fail("data_offsets of '" + tensor_ + "' are not two numbers");
    entry_.begin = numbers_[0];
    entry_.end = numbers_[1];
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail("the header is not JSON at its byte " + std::to_string(position));
  }

 private:
  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool refuse(const std::string& what) {
    return fail("unexpected " + what + (depth_ == 0 ? std::string(" instead of the header") : " in '" + tensor_ + "'"));
  }

  SafetensorsHeader header_;
  std::string problem_;
  int depth_ = 0;
  bool in_metadata_ = false;
  bool has_metadata_ = false;
  std::string tensor_;
  std::string field_;
  std::set<std::string> fields_;
  SafetensorsEntry entry_;
  std::vector<std::uint64_t> numbers_;
};

// "" if type, shape and offsets of a tensor fit together.
std::string entry_problem(const SafetensorsEntry& entry, std::uint64_t data_bytes) {
  std::uint64_t bytes = safetensors_element_bytes(entry.dtype);
  if (bytes == 0) return "has the unknown type '" + entry.dtype + "'";
  for (const std::int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) return "has an impossible shape";
  }
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return "lies at bytes [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ") of " +
           std::to_string(data_bytes) + " (is the file cut off?)";
  }
  if (entry.end - entry.begin != bytes) {
    return entry.dtype + " " + shape_text(entry.shape) + " takes " + std::to_string(bytes) + " bytes, but has " +
           std::to_string(entry.end - entry.begin);
  }
  return "";
}

void check_coverage(const SafetensorsHeader& header, std::uint64_t data_bytes, const std::string& file) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& [name, entry] : header.tensors) ranges.emplace_back(entry.begin, entry.end);
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t covered = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != covered) {
      throw DataError(file + ": tensors " + (begin < covered ? "overlap" : "leave a gap") + " at data byte " +
                      std::to_string(std::min(begin, covered)));
    }
    covered = end;
  }
  if (covered != data_bytes) {
    throw DataError(file + ": " + std::to_string(data_bytes - covered) + " bytes follow the last tensor");
  }
}

}  // namespace

std::uint64_t safetensors_element_bytes(std::string_view dtype) noexcept {
  if (dtype == "F8_E5M2") return 1;
  for (const auto& [name, bytes] : kTypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& file) {
  HeaderReader reader;
  if (!json.starts_with('{')) throw DataError(file + ": the header does not begin with '{'");
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) throw DataError(file + ": " + reader.problem());
  SafetensorsHeader header = reader.take_header();
  for (const auto& [name, entry] : header.tensors) {
    const std::string problem = entry_problem(entry, data_bytes);
    if (!problem.empty()) throw DataError(file + ": tensor '" + name + "' " + problem);
  }
  check_coverage(header, data_bytes, file);
  return header;
}

std::string safetensors_header_text(const SafetensorsHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json["__metadata__"] = header.metadata;
  for (const auto& [name, entry] : header.tensors) {
    json[name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace kangpt::io
