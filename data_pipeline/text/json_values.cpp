#include "data_pipeline/text/json_values.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/format.hpp"
#include "data_pipeline/text/json_scanner.hpp"

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

// Goes through one value without keeping more of it than the story and some of its keys (the library's SAX interface).
class StoryReader {
 public:
  explicit StoryReader(const std::string& key)
      : wanted_(key.empty() ? std::vector<std::string>{"story", "text"} : std::vector<std::string>{key}),
        members_(wanted_.size()) {}

  std::string take_story() {
    if (kind_ == "string") return std::move(text_);
    if (kind_ != "object") throw JsonError(0, "expected an object or a string, found " + std::string(kind_));
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      if (members_[i].text) return std::move(*members_[i].text);
      if (members_[i].found) throw JsonError(0, "the object's '" + wanted_[i] + "' is not a string");
    }
    const bool more = keys_.size() > kMostListedKeys;
    if (more) keys_.pop_back();
    std::sort(keys_.begin(), keys_.end());
    if (more) keys_.emplace_back("...");
    throw JsonError(0, "the object has no '" + base::join(wanted_, "' or '") +
                           "'; its keys are: " + base::join(keys_, ", ") + ". Name one with --key");
  }

  bool null() { return take("null"); }
  bool boolean(bool /*value*/) { return take("boolean"); }
  bool number_integer(Json::number_integer_t /*value*/) { return take("number"); }
  bool number_unsigned(Json::number_unsigned_t /*value*/) { return take("number"); }
  bool number_float(Json::number_float_t /*value*/, const std::string& /*text*/) { return take("number"); }
  bool binary(Json::binary_t& /*value*/) { return take("binary"); }
  bool string(std::string& value) {
    if (depth_ == 0) {
      text_ = std::move(value);
    } else if (member_ != nullptr) {
      member_->text = std::move(value);
    }
    return take("string");
  }
  bool start_object(std::size_t /*size*/) { return start("object"); }
  bool start_array(std::size_t /*size*/) { return start("array"); }
  bool end_object() { return end(); }
  bool end_array() { return end(); }
  // Of several members of one name the last counts, as everywhere.
  bool key(std::string& name) {
    if (depth_ != 1) return true;
    const auto found = std::find(wanted_.begin(), wanted_.end(), name);
    if (found != wanted_.end()) {
      member_ = &members_[static_cast<std::size_t>(found - wanted_.begin())];
      *member_ = {true, std::nullopt};
    } else if (keys_.size() <= kMostListedKeys) {
      keys_.push_back(name.substr(0, kLongestReason));
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/, const Json::exception& error) {
    throw JsonError(std::max<std::size_t>(position, 1) - 1, reason_of(error));
  }

 private:
  struct Member {
    bool found = false;
    std::optional<std::string> text;
  };

  bool take(const char* kind) {
    if (depth_ == 0) kind_ = kind;
    member_ = nullptr;
    return true;
  }
  bool start(const char* kind) {
    take(kind);
    ++depth_;
    return true;
  }
  bool end() {
    --depth_;
    return true;
  }

  std::vector<std::string> wanted_;
  std::vector<Member> members_;  // one for each that is wanted
  std::vector<std::string> keys_;
  Member* member_ = nullptr;  // whose value comes next
  std::string_view kind_;     // of the value
  std::string text_;          // where it is a string
  std::size_t depth_ = 0;
};

// The number in an escape like \u00e9 at `position`; nullopt if there is none.
std::optional<unsigned> escape_at(std::string_view json, std::size_t position) noexcept {
  if (position + kEscapeBytes > json.size() || json[position] != '\\' || json[position + 1] != 'u') return std::nullopt;
  unsigned number = 0;
  const char* const end = json.data() + position + kEscapeBytes;
  const auto [last, error] = std::from_chars(json.data() + position + 2, end, number, 16);
  return error == std::errc() && last == end ? std::optional(number) : std::nullopt;
}

}  // namespace

JsonValues::JsonValues(std::string_view text, JsonPlace place, OtherValues others) noexcept
    : text_(text),
      expected_(place == JsonPlace::kStart     ? Expected::kAnything
                : place == JsonPlace::kInArray ? Expected::kCommaOrEnd
                                               : Expected::kValue),
      others_(others) {}

std::optional<std::string_view> JsonValues::next() {
  while (true) {
    position_ = std::min(text_.find_first_not_of(" \t\r\n", position_), text_.size());
    if (position_ == text_.size()) return std::nullopt;
    const char c = text_[position_];
    if (c == '{' || c == '"') return take_value();
    if (take_punctuation(c)) continue;
    if (!takes_other(c)) fail();
    return take_other();
  }
}

std::string_view JsonValues::take_value() {
  if (expected_ == Expected::kCommaOrEnd || expected_ == Expected::kNothing) fail();
  expect_more();
  const std::size_t begin = position_;
  JsonScanner scanner;
  while (position_ < text_.size() && !scanner.ends_value(text_[position_])) ++position_;
  position_ = std::min(position_ + 1, text_.size());
  return text_.substr(begin, position_ - begin);
}

// After a value.
void JsonValues::expect_more() noexcept {
  const bool in_array = expected_ == Expected::kElementOrEnd || expected_ == Expected::kElement;
  expected_ = in_array ? Expected::kCommaOrEnd : Expected::kValue;
}

bool JsonValues::takes_other(char c) const noexcept {
  const bool value_may_stand =
      expected_ == Expected::kElementOrEnd || expected_ == Expected::kElement || expected_ == Expected::kValue;
  return others_ == OtherValues::kTaken && value_may_stand &&
         std::string_view(",:]}").find(c) == std::string_view::npos;
}

// An array up to its end; a number, a word or whatever it is up to what may follow it.
std::string_view JsonValues::take_other() {
  expect_more();
  const std::size_t begin = position_;
  JsonScanner scanner;
  if (text_[position_] == '[') {
    do scanner.ends_value(text_[position_++]);
    while (position_ < text_.size() && !scanner.complete());
  } else {
    position_ = std::min(text_.find_first_of(" \t\r\n,:[]{}\"", position_ + 1), text_.size());
  }
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
  const auto expected = [this]() -> const char* {
    switch (expected_) {
      case Expected::kAnything:
        return "an array of objects or strings, an object or a string";
      case Expected::kElementOrEnd:
        return "an object, a string or ]";
      case Expected::kElement:
      case Expected::kValue:
        return "an object or a string";
      case Expected::kCommaOrEnd:
        return ", or ]";
      case Expected::kNothing:
        return "nothing more after the array";
    }
    return "";
  };
  throw JsonError(position_, "unexpected '" + std::string(1, text_[position_]) + "', expected " + expected());
}

std::size_t find_half_pair(std::string_view json, std::size_t from) noexcept {
  const auto is_high = [](unsigned number) { return number >= 0xD800 && number < 0xDC00; };
  const auto is_low = [](unsigned number) { return number >= 0xDC00 && number < 0xE000; };
  for (std::size_t found = json.find('\\', from); found < json.size();) {
    const std::optional<unsigned> number = escape_at(json, found);
    std::size_t size = number ? kEscapeBytes : 2;
    if (number && is_low(*number)) return found;
    if (number && is_high(*number)) {
      const std::optional<unsigned> next = escape_at(json, found + kEscapeBytes);
      if (!next || !is_low(*next)) return found;
      size = 2 * kEscapeBytes;
    }
    found = json.find('\\', found + size);
  }
  return json.size();
}

std::string json_story(std::string_view value, const std::string& key) {
  StoryReader reader(key);
  Json::sax_parse(value.begin(), value.end(), &reader);
  return reader.take_story();
}

}  // namespace kangpt::data
