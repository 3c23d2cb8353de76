#include "data_pipeline/json_values.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/format.hpp"
#include "data_pipeline/json_scanner.hpp"

namespace kangpt::data {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLongestReason = 200;
constexpr std::size_t kMostListedKeys = 20;

// Without the library's name of the error, its own count of lines, and all of a text whose end is missing.
std::string reason_of(const Json::exception& error) {
  std::string reason = error.what();
  for (const std::string_view before : {"] ", "parse error at ", ": "}) {
    const std::size_t found = reason.find(before);
    if (found != std::string::npos) reason.erase(0, found + before.size());
  }
  if (reason.size() <= kLongestReason) return reason;
  return reason.substr(0, kLongestReason / 2) + " ... " + reason.substr(reason.size() - kLongestReason / 2);
}

Json parse(std::string_view value) {
  try {
    return Json::parse(value);
  } catch (const Json::parse_error& error) {
    throw JsonError(std::max<std::size_t>(error.byte, 1) - 1, reason_of(error));
  } catch (const Json::exception& error) {
    throw JsonError(0, reason_of(error));
  }
}

const std::string& text_member(const Json& object, const std::string& key) {
  const std::vector<std::string> keys =
      key.empty() ? std::vector<std::string>{"story", "text"} : std::vector<std::string>{key};
  for (const std::string& name : keys) {
    const auto member = object.find(name);
    if (member != object.end() && member->is_string()) return member->get_ref<const std::string&>();
    if (member != object.end()) throw JsonError(0, "the object's '" + name + "' is not a string");
  }
  std::vector<std::string> found;
  for (const auto& item : object.items()) {
    if (found.size() < kMostListedKeys) found.push_back(item.key());
  }
  if (object.size() > found.size()) found.emplace_back("...");
  throw JsonError(0, "the object has no '" + base::join(keys, "' or '") +
                         "'; its keys are: " + base::join(found, ", ") + ". Name one with --key");
}

}  // namespace

JsonValues::JsonValues(std::string_view text, JsonPlace place) noexcept
    : text_(text),
      expected_(place == JsonPlace::kStart     ? Expected::kAnything
                : place == JsonPlace::kInArray ? Expected::kCommaOrEnd
                                               : Expected::kValue) {}

std::optional<std::string_view> JsonValues::next() {
  while (true) {
    position_ = std::min(text_.find_first_not_of(" \t\r\n", position_), text_.size());
    if (position_ == text_.size()) return std::nullopt;
    const char c = text_[position_];
    if (c == '{' || c == '"') return take_value();
    if (!take_punctuation(c)) fail();
  }
}

std::string_view JsonValues::take_value() {
  if (expected_ == Expected::kCommaOrEnd || expected_ == Expected::kNothing) fail();
  const bool in_array = expected_ == Expected::kElementOrEnd || expected_ == Expected::kElement;
  expected_ = in_array ? Expected::kCommaOrEnd : Expected::kValue;
  const std::size_t begin = position_;
  JsonScanner scanner;
  while (position_ < text_.size() && !scanner.ends_value(text_[position_])) ++position_;
  position_ = std::min(position_ + 1, text_.size());
  return text_.substr(begin, position_ - begin);
}

// One character of the array around the values; false if it can't stand here.
bool JsonValues::take_punctuation(char c) noexcept {
  const bool may_end = expected_ == Expected::kElementOrEnd || expected_ == Expected::kCommaOrEnd;
  if (c == '[' && expected_ == Expected::kAnything) {
    expected_ = Expected::kElementOrEnd;
  } else if (c == ',' && expected_ == Expected::kCommaOrEnd) {
    expected_ = Expected::kElement;
  } else if (c == ']' && may_end) {
    expected_ = Expected::kNothing;
  } else {
    return false;
  }
  ++position_;
  return true;
}

void JsonValues::fail() const {
  const char* expected = "";
  switch (expected_) {
    case Expected::kAnything:
      expected = "an array of objects or strings, an object or a string";
      break;
    case Expected::kElementOrEnd:
      expected = "an object, a string or ]";
      break;
    case Expected::kElement:
    case Expected::kValue:
      expected = "an object or a string";
      break;
    case Expected::kCommaOrEnd:
      expected = ", or ]";
      break;
    case Expected::kNothing:
      expected = "nothing more after the array";
      break;
  }
  throw JsonError(position_, "unexpected '" + std::string(1, text_[position_]) + "', expected " + expected);
}

std::string json_story(std::string_view value, const std::string& key) {
  const Json parsed = parse(value);
  if (parsed.is_string()) return parsed.get<std::string>();
  if (parsed.is_object()) return text_member(parsed, key);
  throw JsonError(0, std::string("expected an object or a string, found ") + parsed.type_name());
}

}  // namespace kangpt::data
