// Text that comes in pieces which may end inside a character.
#pragma once

#include <string>
#include <string_view>

namespace kangpt::tools {

// Holds back the beginning of a character until the rest of it has come. Not thread-safe.
class Utf8Stream {
 public:
  // What can be shown now: all that was added before and not yet returned, up to the last whole character. Bytes that
  // can't become a character are returned as they are.
  std::string add(std::string_view bytes);
  // What is left at the end: the beginning of a character, or nothing.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace kangpt::tools
