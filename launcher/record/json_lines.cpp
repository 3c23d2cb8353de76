#include "launcher/record/json_lines.hpp"

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <system_error>

#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::launcher {

using nlohmann::json;

void for_each_object(const std::filesystem::path& file, const std::function<void(const json&)>& use) {
  if (!std::filesystem::exists(file)) return;
  std::istringstream lines(base::read_file(file));
  for (std::string line; std::getline(lines, line);) {
    const json value = json::parse(line, nullptr, false);
    try {
      if (value.is_object()) use(value);
    } catch (const json::exception&) {  // a field is missing or of another type
    }
  }
}

std::uint64_t keep_lines(const std::filesystem::path& file, const std::function<bool(const json&)>& keep) {
  if (!std::filesystem::exists(file)) return 0;
  const std::string text = base::read_file(file);
  std::istringstream lines(text);
  std::string kept;
  std::uint64_t torn = 0;
  for (std::string line; std::getline(lines, line);) {
    const json value = json::parse(line, nullptr, false);
    if (!value.is_object()) {
      ++torn;
    } else if (keep(value)) {
      kept += line + '\n';
    }
  }
  if (kept == text) return torn;
  if (!text.starts_with(kept)) {
    base::write_file_atomically(file, kept);
    return torn;
  }
  std::error_code error;  // needs no space, unlike a new file
  std::filesystem::resize_file(file, kept.size(), error);
  if (error) throw_io_error("cannot shorten", file.string(), error.value());
  return torn;
}

}  // namespace kangpt::launcher
