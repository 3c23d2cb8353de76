#include "launcher/record/json_lines.hpp"

#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>

#include "base/error.hpp"
#include "base/file.hpp"

namespace kangpt::launcher {

using nlohmann::json;

namespace {

bool use_line(std::string_view line, const std::function<void(const json&)>& use) {
  const json value = json::parse(line, nullptr, false);
  if (!value.is_object()) return false;
  try {
    use(value);
  } catch (const json::exception&) {  // a field is missing or of another type
    return false;
  }
  return true;
}

}  // namespace

std::uint64_t for_each_object(const std::filesystem::path& file, const std::function<void(const json&)>& use) {
  if (!std::filesystem::exists(file)) return 0;
  std::uint64_t passed_over = 0;
  std::string line;
  const auto end_line = [&] {
    const bool is_used = line.size() <= kLongestLineBytes && use_line(line, use);
    if (!is_used) ++passed_over;
    line.clear();
  };
  base::read_in_pieces(file, [&](std::span<const std::byte> bytes) {
    std::string_view piece(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (std::size_t end = piece.find('\n'); end != std::string_view::npos; end = piece.find('\n')) {
      if (line.size() <= kLongestLineBytes) line += piece.substr(0, end);
      end_line();
      piece.remove_prefix(end + 1);
    }
    if (line.size() <= kLongestLineBytes) line += piece;
  });
  if (!line.empty()) end_line();
  return passed_over;
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
