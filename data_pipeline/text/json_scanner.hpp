// Follows the nesting of JSON text without parsing it.
#pragma once

#include <cstdint>

namespace kangpt::data {

// Fed with one character after the other, tells where values of the outermost level end: the elements where the text is
// one array, else the values that stand one after the other.
class JsonScanner {
 public:
  // True if an object, array or string of the outermost level ends with `c`.
  bool ends_value(char c) noexcept {
    if (in_string_) return ends_string(c);
    switch (c) {
      case '"':
        in_string_ = true;
        break;
      case '[':
        if (!began_) begin_array();
        ++depth_;
        break;
      case '{':
        ++depth_;
        break;
      case '}':
      case ']':
        return ends_bracket();
      default:
        break;
    }
    began_ = began_ || c > ' ';
    return false;
  }

  // True between values, and after the array where there is one.
  bool complete() const noexcept { return depth_ == 0 && !in_string_; }
  bool began_with_array() const noexcept { return began_with_array_; }

 private:
  bool ends_string(char c) noexcept {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return depth_ == outer_depth_;
    }
    return false;
  }
  void begin_array() noexcept {
    began_with_array_ = true;
    outer_depth_ = 1;
  }
  // What is wrong, such as a bracket too many or a value after the array, does not keep later values from ending.
  bool ends_bracket() noexcept {
    if (depth_ == 0) return false;
    --depth_;
    if (depth_ >= outer_depth_) return depth_ == outer_depth_;
    outer_depth_ = 0;
    return false;
  }

  std::int64_t depth_ = 0;
  std::int64_t outer_depth_ = 0;  // 1 within the array
  bool began_ = false;
  bool began_with_array_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace kangpt::data
