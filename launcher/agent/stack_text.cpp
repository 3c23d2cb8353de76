#include "launcher/agent/stack_text.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <sstream>

namespace kangpt::launcher {
namespace {

std::string readable_line(const std::string& line) {
  const auto begin = line.find("(_Z");
  const auto end = line.find_first_of("+)", begin == std::string::npos ? 0 : begin);
  if (begin == std::string::npos || end == std::string::npos) return line;
  const std::string name = line.substr(begin + 1, end - begin - 1);
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                        std::free);
  return readable ? line.substr(0, begin + 1) + readable.get() + line.substr(end) : line;
}

}  // namespace

std::string readable_stack(const std::string& stack) {
  std::istringstream lines(stack);
  std::string text;
  for (std::string line; std::getline(lines, line);) text += readable_line(line) + "\n";
  return text;
}

}  // namespace kangpt::launcher
