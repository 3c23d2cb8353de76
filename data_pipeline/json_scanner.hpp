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
        if (!began_) in_array_ = true;
        ++depth_;
        break;
      case '{':
        ++depth_;
        break;
      case '}':
      case ']':
        return --depth_ == outer_depth();
      default:
        break;
    }
    began_ = began_ || c > ' ';
    return false;
  }

  // True between values, and after the array where there is one.
  bool complete() const noexcept { return depth_ == 0 && !in_string_; }

 private:
  bool ends_string(char c) noexcept {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return depth_ == outer_depth();
    }
    return false;
  }
  std::int64_t outer_depth() const noexcept { return in_array_ ? 1 : 0; }

  std::int64_t depth_ = 0;
  bool began_ = false;
  bool in_array_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace kangpt::data
