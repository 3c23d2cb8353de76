#include "data_pipeline/input_files.hpp"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "base/error.hpp"

namespace kangpt::data {
namespace {

namespace fs = std::filesystem;

bool is_text_name(std::string_view name) {
  for (const std::string_view compressed : {".gz", ".zst"}) {
    if (name.ends_with(compressed)) name.remove_suffix(compressed.size());
  }
  if (name.starts_with('.')) return false;
  return name.ends_with(".txt") || name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json");
}

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  std::string last = directory;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    last = entry->path().string();
    if (entry->is_regular_file(error) && is_text_name(entry->path().filename().string())) files.push_back(last);
  }
  if (error) throw_io_error("cannot read", last, error.value());
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw MissingInputError("directory " + directory + " holds no .txt, .jsonl or .json file (nor such a .gz or .zst)");
  return files;
}

}  // namespace

std::vector<std::string> expand_inputs(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_type type = path == "-" ? fs::file_type::fifo : fs::status(path, error).type();
    if (type == fs::file_type::not_found) throw MissingInputError("input " + path + " does not exist");
    if (error) throw_io_error("cannot open input", path, error.value());
    if (type != fs::file_type::directory) {
      files.push_back(path);
      continue;
    }
    const std::vector<std::string> found = files_below(path);
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::uint64_t total_bytes(const std::vector<std::string>& paths) {
  std::uint64_t total = 0;
  for (const std::string& path : paths) {
    if (path == "-" || !fs::is_regular_file(path)) return 0;
    total += fs::file_size(path);
  }
  return total;
}

}  // namespace kangpt::data
